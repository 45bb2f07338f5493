"""From the studies of a comparison to its result: the table, the tests, and what they mean in sentences.

Free of torch and of data: what it is given is all it knows, wherever the studies were run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fdkd_core.errors import EveryMethodFailedError
from fdkd_core.spec import CompareSpec
from fdkd_core.spec.compare import NO_TEACHER, arms
from fdkd_core.spec.figures import figure, signed_figure
from fdkd_core.spec.judging import reported_by
from fdkd_core.spec.measures import Measure, MetricName
from fdkd_core.spec.pairing_words import goes_without_saying
from fdkd_core.spec.result import Arm, CompareResult, ModelResult, StudyResult
from fdkd_core.spec.row_blocks import SEEDS
from fdkd_core.spec.tasks import facts_of
from fdkd_core.spec.uplift import smallest_gap, teacher_behind
from fdkd_core.studies import statistics
from fdkd_core.studies.gains import gain_over
from fdkd_core.studies.summary import summarise
from fdkd_core.versions import library_versions

Outcome = StudyResult | str
"""Of an arm: its result, or why there is none."""


def conclude(
    spec: CompareSpec,
    outcomes: Mapping[str, Outcome],
    teacher: ModelResult | None,
    *,
    identity: Mapping[str, Any],
    seconds: float,
    bundle: str | None = None,
) -> CompareResult:
    """Compares every arm with the control `no_teacher`, seed by seed.

    Args:
        spec: The comparison, resolved.
        outcomes: By label, for every label of `arms(spec)`.
        teacher: Figures of the shared teacher; None where they are not known.
        identity: Hashes `spec` and `data`.
        seconds: What `CompareResult.seconds` will say.
        bundle: Folder of the best arm's student, where there will be one.

    Raises:
        EveryMethodFailedError: The control has figures at best, and there is nothing to compare it with.
    """
    measure = reported_by(spec.training, spec.task)
    found = [
        _arm(label, study.teacher_view, outcomes[label], measure.name)
        for label, study in arms(spec, None).items()
    ]
    methods = [arm for arm in found if not arm.is_control]
    if methods and all(arm.error is not None for arm in methods):
        raise EveryMethodFailedError({arm.label: str(arm.error) for arm in methods})
    control = outcomes[NO_TEACHER]
    if isinstance(control, StudyResult):
        found = [_compared(arm, outcomes[arm.label], control, teacher, measure) for arm in found]
    p_values = {arm.label: arm.p_value for arm in found if not arm.is_control and arm.p_value is not None}
    made = sum(not arm.is_control and arm.difference is not None for arm in found)
    adjusted = statistics.holm(p_values, made)
    found = [arm.model_copy(update={"p_value_holm": adjusted.get(arm.label)}) for arm in found]
    best = _best(found, measure)
    by_label = {label: study for label, study in outcomes.items() if isinstance(study, StudyResult)}
    studies = list(by_label.values())
    chance = next((study.chance for study in studies if study.chance is not None), None)
    return CompareResult(
        kind="compare",
        name=spec.name,
        spec_sha256=identity["spec"],
        data_sha256=identity["data"],
        metric=cast(MetricName, measure.name),
        intervals=_intervals(found, studies),
        chance=chance,
        teacher=teacher,
        arms=found,
        best=best,
        summary=[
            *summarise(found, by_label, best, measure, facts_of(spec.task).chance),
            *_weak_teacher(teacher, found, measure),
            *_how_paired(studies),
        ],
        bundle=bundle if best is not None else None,
        versions=library_versions(),
        seconds=seconds,
    )


def _weak_teacher(teacher: ModelResult | None, arms: Sequence[Arm], measure: Measure) -> list[str]:
    """That the teacher does worse than who has none: there is no gap to be closed, and less to be gained."""
    control = next((arm.test for arm in arms if arm.label == NO_TEACHER), None)
    if teacher is None or control is None:
        return []
    told = teacher_behind(measure, [figure(teacher.test, measure.name)], control.mean)
    return [told] if told else []


def _how_paired(studies: Sequence[StudyResult]) -> list[str]:
    """What the teacher spoke about, where that does not go without saying; the same for all methods."""
    taught = next((study.taught for study in studies if study.taught), [])
    return [f"{rows.sentence}." for rows in taught if not goes_without_saying(rows)]


def _arm(label: str, view: str, outcome: Outcome, metric: str) -> Arm:
    """An arm by itself."""
    result = outcome if isinstance(outcome, StudyResult) else None
    trials = result.trials if result else []
    runs = result.runs if result else []
    return Arm(
        label=label,
        method=result.method["name"] if result else label.partition(" ")[0].partition("#")[0],
        is_control=label == NO_TEACHER or view != "paired",
        teacher_view=view,
        error=None if result else str(outcome),
        lr=result.lr if result else None,
        parameters=result.parameters if result else {},
        chosen=result.chosen if result else "",
        trials=len(trials),
        runs=runs,
        val=statistics.estimate([figure(run.val, metric) for run in runs]) if runs else None,
        test=statistics.estimate([figure(run.test, metric) for run in runs]) if runs else None,
        difference=None,
        p_value=None,
        p_value_holm=None,
        teacher_gap_closed=None,
        verdict=None,
        seconds=sum(trial.seconds for trial in trials) + sum(run.seconds for run in runs),
    )


def _compared(
    arm: Arm, outcome: Outcome, control: StudyResult, teacher: ModelResult | None, measure: Measure
) -> Arm:
    """The arm with its difference to the control, unless it is that itself."""
    if arm.label == NO_TEACHER or isinstance(outcome, str):
        return arm
    gain = gain_over(outcome, control, measure.name)
    if gain is None:
        return arm
    share = None
    if teacher is not None:
        assert arm.test is not None
        value = statistics.estimate([figure(run.test, measure.name) for run in control.runs]).mean
        share = statistics.share_of_gap(
            measure.signed(arm.test.mean),
            measure.signed(value),
            signed_figure(teacher.test, measure.name),
            smallest_gap=smallest_gap(measure, value),
        )
    return arm.model_copy(
        update={
            "difference": gain.difference,
            "over_seeds": gain.over_seeds,
            "row_error": gain.row_error,
            "p_value": gain.p_value,
            "teacher_gap_closed": share,
            "verdict": gain.verdict,
        }
    )


def _intervals(arms: Sequence[Arm], studies: Sequence[StudyResult]) -> str:
    """What intervals of differences are over, in words."""
    rows = next((study.test_rows for study in studies if study.test_rows is not None), None)
    is_known = rows is not None and any(arm.row_error is not None for arm in arms)
    return rows.words if rows is not None and is_known else SEEDS


def _best(found: list[Arm], measure: Measure) -> str | None:
    """Of the methods and the control without a teacher; the first wins a tie, and the control is first."""
    candidates = [
        arm for arm in found if arm.val is not None and (not arm.is_control or arm.label == NO_TEACHER)
    ]
    if not candidates:
        return None
    return max(candidates, key=lambda arm: measure.signed(arm.val.mean) if arm.val else 0.0).label
