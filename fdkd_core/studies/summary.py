"""What a comparison means, in two to six sentences that promise no more than the figures do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from fdkd_core.count_words import count
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.figures import figure
from fdkd_core.spec.judging import FEW_ROWS
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.result import Arm, Estimate, StudyResult
from fdkd_core.spec.study import TeacherView
from fdkd_core.spec.uplift import groups_words
from fdkd_core.studies import statistics
from fdkd_core.studies.gains import Gain, gain_over
from fdkd_core.studies.row_blocks import spread_over_chance

SIGNIFICANCE = 1.0 - statistics.CONFIDENCE
PERMUTED: TeacherView = "permuted_channels"


Studies = Mapping[str, StudyResult]
"""Of the arms that have figures, by label."""


def summarise(
    arms: Sequence[Arm], studies: Studies, best: str | None, measure: Measure, blind: str = ""
) -> list[str]:
    """The sentences.

    Args:
        arms: With their differences to the control.
        studies: They are made of.
        best: Label of the method, or of the control, that is best on validation.
        measure: What the figures are of.
        blind: Who looks at no sample; see `TaskFacts.chance`.
    """
    if best is None:
        return ["Every training failed, so nothing can be said.", *_failures(arms)]
    methods = [arm for arm in arms if not arm.is_control]
    winner = next(arm for arm in arms if arm.label == best)
    return [
        *_winner(winner, methods, measure),
        *_beside_chance(winner, studies[best], measure, blind),
        *_others(methods, best, measure),
        *_fakes(arms, studies, measure),
        *_failures(arms),
        *_caveat(arms, studies),
    ]


def interval(found: Estimate, measure: Measure) -> str:
    """A difference with its interval; without one where there is none."""
    if found.low == found.high:
        return measure.gain(found.mean)
    # Without the plus signs that the mean has.
    low, high = (measure.signed_text(bound).removeprefix("+") for bound in (found.low, found.high))
    return f"{measure.gain(found.mean)} (95 % interval {low} to {high})"


def _winner(best: Arm, methods: Sequence[Arm], measure: Measure) -> Iterator[str]:
    if best.label == NO_TEACHER and any(arm.val is None for arm in methods):
        yield "No method that has figures is better on validation than the tuned control."
        return
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
            yield from _on_these_rows_alone(best, measure)


def _on_these_rows_alone(arm: Arm, measure: Measure) -> Iterator[str]:
    """Of an arm whose gain is beyond the luck of training, but not beyond that of the test rows."""
    alone = arm.over_seeds
    if alone is not None and arm.row_error is not None and statistics.verdict(alone) == "helps":
        gained = interval(alone, measure)
        yield f"On these very test rows it is better whatever the seed, by {gained}; on others it may not be."


def _beside_chance(best: Arm, study: StudyResult, measure: Measure, blind: str) -> Iterator[str]:
    """Where it has not been shown that even the best knows anything."""
    if study.chance is None:
        return
    values = [figure(run.test, measure.name) for run in study.runs]
    over_rows = spread_over_chance(study.test_rows)
    spreads = [statistics.over_seeds(values)] if len(values) > 1 else []
    found = statistics.over_all(fmean(values), [*spreads, *([] if over_rows is None else [over_rows])])
    least = found.low if measure.larger_is_better else found.high
    if measure.signed(least) <= measure.signed(study.chance):
        name = "The control" if best.label == NO_TEACHER else best.label
        has = measure.text(found.mean, unit=True)
        if found.low != found.high:
            has += f" with {measure.text(measure.possible(least), unit=True)} at the bad end of its interval"
        yield (
            f"{name} is not clearly better than {blind}, which has {measure.text(study.chance, unit=True)} "
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


def _fakes(arms: Sequence[Arm], studies: Studies, measure: Measure) -> Iterator[str]:
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
        yield from _ignorant(real, strongest, studies, measure)
    for fake in fakes:
        if fake.teacher_view == PERMUTED and real.verdict == "helps":
            yield from _permuted(real, fake, studies, measure)


def _ignorant(real: Arm, fake: Arm, studies: Studies, measure: Measure) -> Iterator[str]:
    """What the best fake teacher says about the real one."""
    told, beyond = _beside(real, fake, studies, measure)
    if real.verdict != "helps":
        if fake.verdict == "helps":
            yield f"But {told}: what helps there is not what the teacher knows."
        return
    ahead = f"the real one is ahead by {interval(beyond.difference, measure)}"
    if beyond.verdict == "helps":
        yield f"It takes the real teacher: {told}, and {ahead}."
    elif fake.verdict == "helps" and beyond.difference.mean > 0.0:
        yield f"Part of the gain needs no knowledge: {told}; {ahead}, which may be chance."
    elif fake.verdict == "helps":
        yield f"But {told}, no less than with the real teacher: nothing shows that its knowledge helps."
    else:
        yield f"Whether it takes the real teacher is open: {told}, and {ahead}."


def _permuted(real: Arm, fake: Arm, studies: Studies, measure: Measure) -> Iterator[str]:
    """The same knowledge in another order of channels."""
    told, beyond = _beside(real, fake, studies, measure)
    if beyond.verdict == "helps":
        behind = interval(beyond.difference, measure)
        yield f"The order of the teacher's channels matters: {told}, {behind} behind."
    elif fake.verdict == "helps":
        yield f"Nothing shows that the order of the teacher's channels matters: {told}."


def _beside(real: Arm, fake: Arm, studies: Studies, measure: Measure) -> tuple[str, Gain]:
    """What the fake gains, in words, and by how much the real teacher is ahead of it."""
    assert fake.difference is not None
    name = fake.teacher_view.replace("_", " ")
    told = f"with {name} {real.label} gains {interval(fake.difference, measure)}"
    beyond = gain_over(studies[real.label], studies[fake.label], measure.name)
    assert beyond is not None  # both have a difference to the control, whose seeds are theirs
    return told, beyond


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


def _caveat(arms: Sequence[Arm], studies: Studies) -> Iterator[str]:
    study = max(studies.values(), key=lambda found: len(found.runs))
    runs = study.runs
    blocks = next((found.test_rows for found in studies.values() if found.test_rows is not None), None)
    rows, chosen_by = runs[0].test.num_samples, runs[0].val.num_samples
    has = "row" if rows == 1 else f"{rows:,} rows"
    if chosen_by < FEW_ROWS:
        found = count(chosen_by, "validation row")
        yield f"All was chosen on {found}: so few hardly tell one arm from another."
    if len(runs) == 1:
        yield (
            f"Each arm ran with one seed, which is evidence for nothing; the test split has "
            f"{count(rows, 'row')}."
        )
        return
    seeds = f"{len(runs)} seeds of training"
    if blocks is not None and any(arm.row_error is not None for arm in arms):
        which = has if blocks.num_groups is None else groups_words(blocks.num_groups, blocks.grouped_by)
        yield (
            f"The intervals of differences are over {seeds}, and over which {which} the test split happens "
            "to have."
        )
    elif blocks is not None and spread_over_chance(blocks) is None:
        only = groups_words(1, blocks.grouped_by) if blocks.num_groups == 1 else "1 row"
        yield (
            f"The intervals are over {seeds}; the test split has {only} alone, which does not tell how "
            "another would differ."
        )
    else:
        yield f"The intervals are over {seeds}; they do not cover which {has} the test split happens to have."
