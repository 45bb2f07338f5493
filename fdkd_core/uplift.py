"""How much better than its control a student is, with what the test split's size leaves uncertain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fdkd_core.errors import GateFailedError, Problem
from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.result import GateResult, ModelResult, Uplift
from fdkd_core.tasks.classification import macro_f1_influence

MIN_TEACHER_GAP = 0.01
"""Of a gap smaller than a point, the share closed is a ratio of noise."""


def measure_uplift(
    results: Mapping[str, ModelResult],
    labels_N: NDArray[np.int64],
    student_N: NDArray[np.int64],
    control_N: NDArray[np.int64],
) -> Uplift:
    """Compares student and control on the same test samples.

    Args:
        results: Of `student`, `control` and all teachers of which they are known, by role.
        labels_N: Class indexes of the test split.
        student_N: Predictions of the student.
        control_N: Predictions of the control.
    """
    student, control = results["student"], results["control"]
    teachers = [result for role, result in results.items() if role not in ("student", "control")]
    teacher = max(teachers, key=lambda result: result.val.accuracy, default=None)
    gained = student.test.accuracy - control.test.accuracy
    gap = 0.0 if teacher is None else teacher.test.accuracy - control.test.accuracy
    right = (student_N == labels_N).astype(np.float64) - (control_N == labels_N)
    shares = macro_f1_influence(student_N, labels_N) - macro_f1_influence(control_N, labels_N)
    return Uplift(
        val_accuracy=student.val.accuracy - control.val.accuracy,
        test_accuracy=gained,
        test_macro_f1=student.test.macro_f1 - control.test.macro_f1,
        teacher_gap_closed=gained / gap if gap >= MIN_TEACHER_GAP else None,
        standard_error=_standard_error(right),
        macro_f1_standard_error=_standard_error(shares),
    )


def pass_gates(gates: Sequence[GateSpec], uplift: Uplift) -> list[GateResult]:
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


def _pass_gate(gate: GateSpec, uplift: Uplift) -> GateResult:
    value, error = uplift.test_accuracy, uplift.standard_error
    if gate.metric == "macro_f1":
        assert uplift.macro_f1_standard_error is not None  # just measured
        value, error = uplift.test_macro_f1, uplift.macro_f1_standard_error
    # Without noise a difference of nothing is still no difference: what must be significant must be more.
    passed = value - 2.0 * error > gate.min_uplift if gate.significant else value >= gate.min_uplift
    name = {"accuracy": "accuracy", "macro_f1": "macro-F1"}[gate.metric]
    margin = f"{100 * gate.min_uplift:+.1f}"
    wanted = f"more than {margin} beyond that noise" if gate.significant else f"at least {margin}"
    return GateResult(
        metric=gate.metric,
        passed=passed,
        value=value,
        standard_error=error,
        threshold=gate.min_uplift,
        significant=gate.significant,
        on_fail=gate.on_fail,
        sentence=(
            f"Test {name} of the student minus its control's is {100 * value:+.1f} points "
            f"(±{200 * error:.1f}); the job asks for {wanted}: {'passed' if passed else 'not passed'}."
        ),
    )


def _standard_error(differences_N: NDArray[np.float64]) -> float:
    return float(differences_N.std() / np.sqrt(len(differences_N)))
