"""From the studies of a comparison to its result: the table, the tests, and what they mean in sentences.

Free of torch and of data: what it is given is all it knows, wherever the studies were run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fdkd_core.spec import CompareSpec
from fdkd_core.spec.compare import NO_TEACHER, arms
from fdkd_core.spec.result import Arm, CompareResult, FinalRun, ModelResult, StudyResult
from fdkd_core.studies import statistics
from fdkd_core.studies.summary import summarise
from fdkd_core.versions import library_versions

MIN_TEACHER_GAP = 0.01
"""Of a gap smaller than a point, the share closed is a ratio of noise."""

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
        seconds: Wall time of the whole comparison.
        bundle: Folder of the best arm's student, where there will be one.
    """
    metric: Literal["accuracy", "macro_f1"] = (
        "macro_f1" if spec.training.select_by == "macro_f1" else "accuracy"
    )
    found = [
        _arm(label, study.teacher_view, outcomes[label], metric) for label, study in arms(spec, None).items()
    ]
    control = next(arm for arm in found if arm.label == NO_TEACHER)
    if control.error is None:
        found = [arm if arm is control else _compared(arm, control, teacher, metric) for arm in found]
    p_values = {arm.label: arm.p_value for arm in found if not arm.is_control and arm.p_value is not None}
    adjusted = statistics.holm(p_values)
    found = [arm.model_copy(update={"p_value_holm": adjusted.get(arm.label)}) for arm in found]
    best = _best(found)
    return CompareResult(
        kind="compare",
        name=spec.name,
        spec_sha256=identity["spec"],
        data_sha256=identity["data"],
        metric=metric,
        teacher=teacher,
        arms=found,
        best=best,
        summary=summarise(found, best, metric),
        bundle=bundle if best is not None else None,
        versions=library_versions(),
        seconds=seconds,
    )


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
        trials=len(trials),
        runs=runs,
        val=statistics.estimate([getattr(run.val, metric) for run in runs]) if runs else None,
        test=statistics.estimate([getattr(run.test, metric) for run in runs]) if runs else None,
        difference=None,
        p_value=None,
        p_value_holm=None,
        teacher_gap_closed=None,
        verdict=None,
        seconds=sum(trial.seconds for trial in trials) + sum(run.seconds for run in runs),
    )


def _compared(arm: Arm, control: Arm, teacher: ModelResult | None, metric: str) -> Arm:
    """The arm with its difference to the control."""
    differences = paired_differences(arm.runs, control.runs, metric)
    if not differences:
        return arm
    difference = statistics.estimate(differences)
    share = None
    if teacher is not None:
        assert arm.test is not None
        assert control.test is not None
        share = statistics.share_of_gap(
            arm.test.mean,
            control.test.mean,
            getattr(teacher.test, metric),
            smallest_gap=MIN_TEACHER_GAP,
        )
    return arm.model_copy(
        update={
            "difference": difference,
            "p_value": statistics.paired_p_value(differences),
            "teacher_gap_closed": share,
            "verdict": statistics.verdict(difference),
        }
    )


def paired_differences(runs: list[FinalRun], others: list[FinalRun], metric: str) -> list[float]:
    """Test figure of each run minus that of the other's run with the same seed."""
    by_seed = {run.seed: getattr(run.test, metric) for run in others}
    return [getattr(run.test, metric) - by_seed[run.seed] for run in runs if run.seed in by_seed]


def _best(found: list[Arm]) -> str | None:
    """Of the methods and the control without a teacher; the first wins a tie, and the control is first."""
    candidates = [
        arm for arm in found if arm.val is not None and (not arm.is_control or arm.label == NO_TEACHER)
    ]
    if not candidates:
        return None
    return max(candidates, key=lambda arm: arm.val.mean if arm.val else 0.0).label
