"""What a comparison means, in two to six sentences that promise no more than the figures do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fdkd_core.count_words import count
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import signed_figure
from fdkd_core.spec.judging import FEW_ROWS
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.result import Arm, Estimate, FinalRun
from fdkd_core.spec.study import TeacherView
from fdkd_core.studies import statistics

SIGNIFICANCE = 1.0 - statistics.CONFIDENCE
PERMUTED: TeacherView = "permuted_channels"


def summarise(
    arms: Sequence[Arm], best: str | None, measure: Measure, chance: float | None = None, blind: str = ""
) -> list[str]:
    """The sentences.

    Args:
        arms: With their differences to the control.
        best: Label of the method, or of the control, that is best on validation.
        measure: What the figures are of.
        chance: The figure of who looks at no sample; None where nobody knows.
        blind: Who that is; see `TaskFacts.chance`.
    """
    if best is None:
        return ["Every training failed, so nothing can be said.", *_failures(arms)]
    methods = [arm for arm in arms if not arm.is_control]
    winner = next(arm for arm in arms if arm.label == best)
    return [
        *_winner(winner, methods, measure),
        *_beside_chance(winner, measure, chance, blind),
        *_others(methods, best, measure),
        *_fakes(arms, measure),
        *_failures(arms),
        *_caveat(arms),
    ]


def interval(found: Estimate, measure: Measure) -> str:
    """A difference with its interval; without one where there is none."""
    if found.low == found.high:
        return measure.gain(found.mean)
    # Without the plus signs that the mean has.
    low, high = (measure.signed_text(bound).removeprefix("+") for bound in (found.low, found.high))
    return f"{measure.gain(found.mean)} (95 % interval {low} to {high})"


def _winner(best: Arm, methods: Sequence[Arm], measure: Measure) -> Iterator[str]:
    if best.label == NO_TEACHER:
        yield "No method is better on validation than the tuned control: train without a teacher."
        return
    if best.difference is None:
        yield f"{best.label} is best on validation, but the control failed: whether it helps is not known."
        return
    what = "" if measure.larger_is_better else f" in {measure.words}{measure.turned},"
    gained = f"{interval(best.difference, measure)}{what} on the test split over the tuned control"
    match best.verdict:
        case "helps":
            closed = best.teacher_gap_closed
            share = f" That closes {100 * closed:.0f} % of the gap to the teacher." if closed else ""
            yield f"{best.label} helps: {gained}.{share}"
            if best.p_value_holm is not None and best.p_value_holm > SIGNIFICANCE:
                yield (
                    f"With {len(methods)} methods compared, one may look that good by chance: p is "
                    f"{best.p_value_holm:.2f} after Holm's correction."
                )
        case "hurts":
            yield f"{best.label} is best on validation, and yet it hurts: {gained}."
        case _:
            yield f"{best.label} is best on validation, but there is no evidence that it helps: {gained}."


def _beside_chance(best: Arm, measure: Measure, chance: float | None, blind: str) -> Iterator[str]:
    """Where it has not been shown that even the best knows anything."""
    if chance is None or best.test is None:
        return
    least = best.test.low if measure.larger_is_better else best.test.high
    if measure.signed(least) <= measure.signed(chance):
        name = "The control" if best.label == NO_TEACHER else best.label
        has = measure.text(best.test.mean, unit=True)
        if best.test.low != best.test.high:
            has += f" with {measure.text(measure.possible(least), unit=True)} at the bad end of its interval"
        yield (
            f"{name} is not clearly better than {blind}, which has {measure.text(chance, unit=True)} "
            f"({measure.words}; {has}): whatever helps, it does not know enough yet to be of use."
        )


def _others(methods: Sequence[Arm], best: str, measure: Measure) -> Iterator[str]:
    parts = []
    for verdict in ("helps", "hurts"):
        named = [
            f"{arm.label} ({measure.gain(arm.difference.mean)})"
            for arm in methods
            if arm.verdict == verdict and arm.label != best and arm.difference is not None
        ]
        if named:
            parts.append(f"{', '.join(named)} {verdict if len(named) == 1 else verdict[:-1]}")
    rest = [arm.label for arm in methods if arm.verdict == "no evidence" and arm.label != best]
    if rest:
        parts.append(f"no evidence either way for {', '.join(rest)}")
    if parts:
        yield f"{'Methods' if best == NO_TEACHER else 'Other methods'}: {'; '.join(parts)}."


def _fakes(arms: Sequence[Arm], measure: Measure) -> Iterator[str]:
    """Whether a teacher that knows less does the same, and whether the order of its channels matters."""
    fakes = [arm for arm in arms if arm.is_control and arm.label != NO_TEACHER and arm.difference is not None]
    if not fakes:
        return
    real = next((arm for arm in arms if not arm.is_control and arm.label == faked_label(fakes[0])), None)
    if real is None or real.difference is None:
        return
    ignorant = [arm for arm in fakes if arm.teacher_view != PERMUTED]
    if ignorant:
        strongest = max(ignorant, key=lambda arm: arm.difference.mean if arm.difference else 0.0)
        yield from _ignorant(real, strongest, measure)
    for fake in fakes:
        if fake.teacher_view == PERMUTED and real.verdict == "helps":
            yield from _permuted(real, fake, measure)


def _ignorant(real: Arm, fake: Arm, measure: Measure) -> Iterator[str]:
    """What the best fake teacher says about the real one."""
    told, beyond = _beside(real, fake, measure)
    if real.verdict != "helps":
        if fake.verdict == "helps":
            yield f"But {told}: what helps there is not what the teacher knows."
        return
    ahead = f"the real one is ahead by {interval(beyond, measure)}"
    if statistics.verdict(beyond) == "helps":
        yield f"It takes the real teacher: {told}, and {ahead}."
    elif fake.verdict == "helps" and beyond.mean > 0.0:
        yield f"Part of the gain needs no knowledge: {told}; {ahead}, which may be chance."
    elif fake.verdict == "helps":
        yield f"But {told}, no less than with the real teacher: nothing shows that its knowledge helps."
    else:
        yield f"Whether it takes the real teacher is open: {told}, and {ahead}."


def _permuted(real: Arm, fake: Arm, measure: Measure) -> Iterator[str]:
    """The same knowledge in another order of channels."""
    told, beyond = _beside(real, fake, measure)
    if statistics.verdict(beyond) == "helps":
        yield f"The order of the teacher's channels matters: {told}, {interval(beyond, measure)} behind."
    elif fake.verdict == "helps":
        yield f"Nothing shows that the order of the teacher's channels matters: {told}."


def _beside(real: Arm, fake: Arm, measure: Measure) -> tuple[str, Estimate]:
    """What the fake gains, in words, and by how much the real teacher is ahead of it."""
    assert fake.difference is not None
    name = fake.teacher_view.replace("_", " ")
    told = f"with {name} {real.label} gains {interval(fake.difference, measure)}"
    return told, statistics.estimate(paired_differences(real.runs, fake.runs, measure.name))


def paired_differences(runs: Sequence[FinalRun], others: Sequence[FinalRun], metric: str) -> list[float]:
    """By how much each run is better on the test split than the other's run with the same seed."""
    by_seed = {run.seed: signed_figure(run.test, metric) for run in others}
    return [signed_figure(run.test, metric) - by_seed[run.seed] for run in runs if run.seed in by_seed]


def faked_label(fake: Arm) -> str:
    """Label of the method that a fake teacher was given to."""
    return fake.label.removesuffix(f" {fake.teacher_view}")


def _failures(arms: Sequence[Arm]) -> Iterator[str]:
    failed = [arm for arm in arms if arm.error is not None]
    if failed:
        yield (
            "Without figures: "
            + "; ".join(f"{arm.label} ({arm.error.rstrip('.')})" for arm in failed if arm.error)
            + "."
        )


def _caveat(arms: Sequence[Arm]) -> Iterator[str]:
    runs = max((arm.runs for arm in arms), key=len)
    rows, chosen_by = runs[0].test.num_samples, runs[0].val.num_samples
    if chosen_by < FEW_ROWS:
        found = count(chosen_by, "validation row")
        yield f"All was chosen on {found}: so few hardly tell one arm from another."
    if len(runs) == 1:
        has = count(rows, "row")
        yield f"Each arm ran with one seed, which is evidence for nothing; the test split has {has}."
    else:
        yield (
            f"The intervals are over {len(runs)} seeds of training; they do not cover which "
            f"{'row' if rows == 1 else f'{rows:,} rows'} the test split happens to have."
        )
