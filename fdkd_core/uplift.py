"""How much better than its control a student is, with what the test split's size leaves uncertain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.errors import GateFailedError, Problem
from fdkd_core.row_noise import row_noise
from fdkd_core.spec.figures import figure, signed_figure
from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.measures import MEASURES, Measure, MetricName, SelectBy
from fdkd_core.spec.result import GateResult, ModelResult
from fdkd_core.spec.uplift import (
    ALL_AGREE,
    AnyUplift,
    ChanceLevel,
    FigureGain,
    GroupedBy,
    chance_warning,
    groups_words,
    half_width_of,
    smallest_gap,
    uplift_of,
)
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.blind import Blind


def measure_uplift(
    task: Task,
    results: Mapping[str, ModelResult],
    labels: NDArray[Any],
    student_NC: NDArray[Any],
    control_NC: NDArray[Any],
    groups_N: NDArray[np.int64] | None = None,
    *,
    learned: NDArray[Any],
    select_by: SelectBy | None = None,
) -> AnyUplift:
    """Compares student and control on the same test samples.

    Args:
        task: What they answer.
        results: Of `student`, `control` and all teachers of which they are known, by role.
        labels: Of the test split.
        student_NC: Answers of the student, as `Task.answers` gives them.
        control_NC: Answers of the control.
        groups_N: Group of each row of the test split; None where the data name none, so that the task says
            which rows succeed or fail together.
        learned: Labels of the training split, or of some of its rows: what chance knows.
        select_by: What picks the weights; by that figure the models are held against chance.
    """
    grouped_by: GroupedBy = "group"
    if groups_N is None:
        groups_N, grouped_by = task.alike(labels), "label"
    student, control = results["student"], results["control"]
    teachers = [result for role, result in results.items() if role not in ("student", "control")]
    main = task.facts.main
    teacher = max(teachers, key=lambda result: signed_figure(result.val, main.name), default=None)
    gap = 0.0
    if teacher is not None:
        gap = signed_figure(teacher.test, main.name) - signed_figure(control.test, main.name)
    gains = []
    for name in task.facts.metrics:
        differences_N = task.shares(name, student_NC, labels) - task.shares(name, control_NC, labels)
        noise = row_noise(differences_N, groups_N)
        gains.append(
            FigureGain(
                metric=name,
                val=signed_figure(student.val, name) - signed_figure(control.val, name),
                test=signed_figure(student.test, name) - signed_figure(control.test, name),
                standard_error=noise.standard_error,
                noise=noise.half_width,
                groups=noise.groups,
                grouped_by=None if noise.groups is None else grouped_by,
                control=figure(control.test, name),
            )
        )
    is_ahead = teacher is not None and gap >= smallest_gap(main, figure(control.test, main.name))
    metric = next((name for name in task.facts.metrics if name == select_by), task.facts.metrics[0])
    models = {"student": (student, student_NC), "control": (control, control_NC)}
    chance = _chance_level(task, metric, task.chance(metric, learned, labels), labels, models, groups_N)
    return uplift_of(gains, gains[0].test / gap if is_ahead else None, chance)


def _chance_level(
    task: Task,
    metric: MetricName,
    blind: Blind,
    labels: NDArray[Any],
    models: Mapping[str, tuple[ModelResult, NDArray[Any]]],
    groups_N: NDArray[np.int64] | None,
) -> ChanceLevel:
    """How student and control stand to who looks at no sample."""
    measure = MEASURES[metric]
    leads, noises = {}, {}
    for role, (model, answers_NC) in models.items():
        leads[role] = signed_figure(model.test, metric) - measure.signed(blind.value)
        noises[role] = row_noise(task.shares(metric, answers_NC, labels) - blind.shares, groups_N).half_width
    no_better = {
        role: figure(model.test, metric)
        for role, (model, _) in models.items()
        if leads[role] <= (noises[role] or 0.0)
    }
    warning = ""
    if "student" in no_better:
        warning = chance_warning(
            measure,
            task.facts.chance,
            blind.value,
            no_better["student"],
            no_better.get("control"),
            is_control=models["student"][0].weights_sha256 == models["control"][0].weights_sha256,
        )
    return ChanceLevel(
        metric=metric,
        value=blind.value,
        student=leads["student"],
        student_noise=noises["student"],
        control=leads["control"],
        control_noise=noises["control"],
        warning=warning,
    )


def pass_gates(gates: Sequence[GateSpec], uplift: AnyUplift, *, is_control: bool = False) -> list[GateResult]:
    """What became of each gate, in the order of the spec.

    Args:
        gates: Of the spec.
        uplift: As measured.
        is_control: Whether the student is the control itself, which a search handed over.
    """
    return [_pass_gate(gate, uplift, is_control=is_control) for gate in gates]


def failure_of(gates: Sequence[GateResult]) -> GateFailedError | None:
    """The error of a job whose student did not pass a gate that it had to pass; None when it did."""
    problems = [
        Problem("gate_failed", gate.sentence, f"/gates/{index}")
        for index, gate in enumerate(gates)
        if gate.on_fail == "fail" and not gate.passed
    ]
    return GateFailedError(problems) if problems else None


ROUNDING = 1e-9
"""Figures come in steps of a row: 17/20 - 16/20 is less than 0.05, as floats have it."""
_MOST_PLACES = 6


def _places(value: float, margin: float, shown: Measure) -> int:
    """Decimals by which a gain and a margin that differ are also seen to differ."""
    usual = _usual_places(shown)
    enough = (
        places
        for places in range(usual, _MOST_PLACES)
        if _signed(shown, value, places) != _signed(shown, margin, places)
    )
    return usual if value == margin else next(enough, _MOST_PLACES)


def _signed(shown: Measure, value: float, places: int) -> str:
    """The value as it is shown, with its sign; of none but 0 is the sign lost."""
    if places == _usual_places(shown):
        return shown.signed_text(value)
    return f"{round(shown.scale * value, places) + 0.0:+.{places}f}"


def _usual_places(shown: Measure) -> int:
    return 1 if shown.form == "share" else 3


def _pass_gate(gate: GateSpec, uplift: AnyUplift, *, is_control: bool) -> GateResult:
    gain = next(found for found in uplift.gains if gate.metric in (None, found.metric))
    measure, value, error, noise = MEASURES[gain.metric], gain.test, gain.standard_error, half_width_of(gain)
    assert error is not None  # just measured
    is_relative = measure.form == "number"
    if is_relative:
        # What is 0 cannot become less.
        scale = abs(gain.control or 0.0) or 1.0
        value, error, noise = value / scale, error / scale, None if noise is None else noise / scale
    # Rows that all say the same do not tell how others would differ.
    all_agree = noise == 0.0 and value != 0.0
    # Without noise a difference of nothing is still no difference: what must be significant must be more.
    is_clear = noise is not None and not all_agree and value - noise > gate.min_uplift
    if abs(value - gate.min_uplift) < ROUNDING:
        value = gate.min_uplift
    passed = is_clear if gate.significant else value >= gate.min_uplift
    shown = MEASURES["accuracy"] if is_relative else measure  # in percent
    places = _places(value, gate.min_uplift, shown)
    amount, least = (_signed(shown, number, places) for number in (value, gate.min_uplift))
    unit = " %" if is_relative else " points" if shown.form == "share" else ""
    margin = least + unit
    wanted = f"more than {margin} beyond noise" if gate.significant else f"at least {margin}"
    outcome = "passed" if passed else "not passed"
    told = f"of the student minus its control's is {amount}{unit}"
    if is_relative:
        than = "larger" if value < 0.0 else "smaller"
        told = f"of the student is {than} than its control's by {amount.lstrip('+-')} %"
    over = "" if gain.groups is None else f" over {groups_words(gain.groups, gain.grouped_by)}"
    spread = f"±{shown.text(noise or 0.0)}{over}"
    if is_control:
        spread = "the student is the control itself"
    elif noise is None:
        spread = f"noise unknown: one {gain.grouped_by or 'group'}"
    elif all_agree:
        spread = f"noise unknown: {ALL_AGREE}"
    return GateResult(
        metric=gain.metric,
        passed=passed,
        value=value,
        standard_error=error,
        threshold=gate.min_uplift,
        significant=gate.significant,
        on_fail=gate.on_fail,
        sentence=(f"Test {measure.words} {told} ({spread}); the job asks for {wanted}: {outcome}."),
    )
