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
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import GateResult, ModelResult
from fdkd_core.spec.uplift import AnyUplift, FigureGain, half_width_of, smallest_gap, uplift_of
from fdkd_core.tasks.base import Task


def measure_uplift(
    task: Task,
    results: Mapping[str, ModelResult],
    labels: NDArray[Any],
    student_NC: NDArray[Any],
    control_NC: NDArray[Any],
    groups_N: NDArray[np.int64] | None = None,
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
    """
    if groups_N is None:
        groups_N = task.alike(labels)
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
                control=figure(control.test, name),
            )
        )
    is_ahead = teacher is not None and gap >= smallest_gap(main, figure(control.test, main.name))
    return uplift_of(gains, gains[0].test / gap if is_ahead else None)


def pass_gates(gates: Sequence[GateSpec], uplift: AnyUplift) -> list[GateResult]:
    """What became of each gate, in the order of the spec."""
    return [_pass_gate(gate, uplift) for gate in gates]


def failure_of(gates: Sequence[GateResult]) -> GateFailedError | None:
    """The error of a job whose student did not pass a gate that it had to pass; None when it did."""
    problems = [
        Problem("gate_failed", gate.sentence, f"/gates/{index}")
        for index, gate in enumerate(gates)
        if gate.on_fail == "fail" and not gate.passed
    ]
    return GateFailedError(problems) if problems else None


def _pass_gate(gate: GateSpec, uplift: AnyUplift) -> GateResult:
    gain = next(found for found in uplift.gains if gate.metric in (None, found.metric))
    measure, value, error, noise = MEASURES[gain.metric], gain.test, gain.standard_error, half_width_of(gain)
    assert error is not None  # just measured
    is_relative = measure.form == "number"
    if is_relative:
        # What is 0 cannot become less.
        scale = abs(gain.control or 0.0) or 1.0
        value, error, noise = value / scale, error / scale, None if noise is None else noise / scale
    # Without noise a difference of nothing is still no difference: what must be significant must be more.
    is_clear = noise is not None and value - noise > gate.min_uplift
    passed = is_clear if gate.significant else value >= gate.min_uplift
    shown = MEASURES["accuracy"] if is_relative else measure  # in percent
    margin = shown.signed_text(gate.min_uplift) + " %" if is_relative else shown.gain(gate.min_uplift)
    wanted = f"more than {margin} beyond that noise" if gate.significant else f"at least {margin}"
    outcome = "passed" if passed else "not passed"
    told = f"of the student minus its control's is {shown.gain(value)}"
    if is_relative:
        told = f"of the student is smaller than its control's by {shown.signed_text(value)} %"
    over = "" if gain.groups is None else f" over {gain.groups} groups"
    spread = "noise unknown: one group" if noise is None else f"±{shown.text(noise)}{over}"
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
