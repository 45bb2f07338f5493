"""Whole methods on numbers small enough to compute on paper, in float64.

Logits are multiples of L = ln 2, whose probabilities are ratios of powers of two: (L, 0, 0) is (2, 1, 1) / 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from method_steps import build
from torch import Tensor

from fdkd_core.methods.base import Method, StepViews
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import C2KDSpec, DISTSpec, FDCMKDSpec, LSKDSpec

L = math.log(2)
Rows = Sequence[Sequence[float]]


def tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def step(student: Rows, teacher: Rows, labels: Sequence[int]) -> StepViews:
    """Logits, or features, of both sides: what the method does not look at is the same."""
    return StepViews(
        ModelOutput(tensor(student), tensor(student)),
        ModelOutput(tensor(teacher), tensor(teacher)),
        torch.tensor(labels),
    )


def total(method: Method, terms: dict[str, Tensor]) -> list[float]:
    """What is added to the loss of each sample."""
    assert terms.keys() == method.weights.keys()
    weighted = [method.weights[name] * term for name, term in terms.items()]
    found: list[float] = torch.stack(weighted).sum(dim=0).tolist()
    return found


def set_linear(layer: Any, weight: Rows, bias: Sequence[float] | None = None) -> None:
    with torch.no_grad():
        layer.weight.copy_(tensor(weight))
        layer.bias.copy_(torch.tensor(bias or [0.0] * len(layer.bias), dtype=torch.float64))


def test_lskd() -> None:
    """Student (10, 30, -10): mean 10, deviation 20 sqrt(2/3), standardised (0, r, -r) with r = sqrt(3/2).

    Teacher (5, 3, 4) likewise (r, -r, 0). With T = r / L they are (0, L, -L) and (L, -L, 0) after division:
    p_s = (2, 4, 1) / 7 and p_t = (4, 1, 2) / 7. KL(p_t || p_s) = (4 L - 2 L + 2 L) / 7 = 4 L / 7, and
    T^2 = 3 / (2 L^2), so that the loss is 6 / (7 L) = 1.2366; the weight of 9 makes it 54 / (7 L).
    """
    method = build(LSKDSpec(temperature=math.sqrt(1.5) / L, weight=9.0))
    terms = method.terms(step([[10.0, 30.0, -10.0]], [[5.0, 3.0, 4.0]], [0]))
    assert terms["logit"].tolist() == pytest.approx([6 / (7 * L)], rel=1e-12)
    assert total(method, terms) == pytest.approx([54 / (7 * L)], rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_dist(temperature: float) -> None:
    """Teacher's rows (3, 1, 1) / 5, (1, 3, 1) / 5, (1, 1, 3) / 5; in the student 2 and 3 change places.

    Less their mean, 1/3, the rows are 2/15 times (2, -1, -1) and its turns: the product of two different ones
    is -3, of one with itself 6, so rho = -1/2. Rows: rho = 1, -1/2, -1/2, inter = 0, 3/2, 3/2. Columns: the
    first is the same, the other two have changed places: rho = 1, -1/2, -1/2, mean 0, so intra = 1 for each
    sample. T^2 multiplies both, where logits are T times as large. With weights 2 and 5: 5, 8, 8, times T^2.
    """
    probabilities = tensor([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    teacher = temperature * probabilities.log() + tensor([[0.0], [4.0], [-7.0]])  # a constant is no change
    method = build(DISTSpec(inter_weight=2.0, intra_weight=5.0, temperature=temperature))
    terms = method.terms(step(teacher[[0, 2, 1]].tolist(), teacher.tolist(), [0, 1, 2]))
    square = temperature**2
    assert terms["inter"].tolist() == pytest.approx([0.0, 1.5 * square, 1.5 * square], abs=1e-12)
    assert terms["intra"].tolist() == pytest.approx([square] * 3, abs=1e-12)
    assert total(method, terms) == pytest.approx([5 * square, 8 * square, 8 * square], abs=1e-12)


@pytest.mark.parametrize(("temperature", "task_loss"), [(1.0, (11 / 8, 4.0)), (2.0, (69 / 64, 6.0))])
def test_c2kd(temperature: float, task_loss: tuple[float, float]) -> None:
    """Both ways, KL(P || Q) + KL(Q || P) = sum (P - Q) (z_P - z_Q). All in units of L, at T = 1.

    Sample 1, label 0. Student (1, 0, 0), its proxy (0, 1, -1): P - Q = (1/2 - 2/7, 1/4 - 4/7, 1/4 - 1/7) =
    (6, -9, 3) / 28, z_P - z_Q = (1, -1, 1): 18 / 28. Teacher (3, 1, 0), its proxy (1, 3, 0): P is
    (8, 2, 1) / 11 and Q (2, 8, 1) / 11: (6 * 2 + 6 * 2) / 11 = 24 / 11. Both proxies have class 1 before 0
    before 2: tau = 1. Without class 0 they are (1, -1), which is (4, 1) / 5, and (3, 0), (8, 1) / 9: P - Q =
    (-4, 4) / 45, and z_P - z_Q = (-2, -1), of which only the difference counts: 4 / 45.

    Sample 2, label 2. Student (0, 0, 1), its proxy (1, 0, 0): (1/4) 1 + (1/4) 1 = 1 / 2. Teacher (1, 0, 0),
    its proxy (0, 1, 0): 1 / 2. One pair of classes is ordered by both proxies, unlike: tau < 0, cross = 0.

    The teacher's own loss: -ln(8 / 11) and -ln(1 / 4). With T = 2 and all logits twice as large the KLs are 4
    times these, the teacher's loss -ln(64 / 69), -ln(1 / 6).
    """
    unit = temperature * L
    method: Any = build(
        C2KDSpec(temperature=temperature, proxy_weight=2.0, cross_weight=3.0, teacher_weight=5.0),
        student_dim=3, teacher_dim=3,
    ).double()  # fmt: skip
    identity = torch.eye(3).tolist()
    set_linear(method.teacher.hidden[1], [[*row, 0.0, 0.0] for row in identity])
    set_linear(method.teacher.classifier, [identity[1], identity[0], identity[2]])
    for proxy in (method.student_proxy, method.teacher_proxy):
        set_linear(proxy.layers[0], identity)
        set_linear(proxy.layers[2], identity)
    features = unit * tensor([[0.0, 1.0, -10.0], [1.0, 0.0, 0.0]])  # the leaky ReLU makes -1 of -10
    logits = unit * tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    inputs = unit * tensor([[1.0, 3.0, 0.0, 8.0, 8.0], [0.0, 1.0, 0.0, 8.0, 8.0]])
    terms = method.terms(
        StepViews(ModelOutput(features, logits), None, torch.tensor([0, 2]), teacher_inputs=inputs)
    )
    square = temperature**2 * L
    expected = {
        "student_proxy": [18 / 28 * square, square / 2],
        "teacher_proxy": [24 / 11 * square, square / 2],
        "cross": [4 / 45 * square, 0.0],
        "teacher": [math.log(found) for found in task_loss],
    }
    for name, values in expected.items():
        assert terms[name].tolist() == pytest.approx(values, rel=1e-12)
    weights = {"student_proxy": 2.0, "teacher_proxy": 2.0, "cross": 3.0, "teacher": 5.0}
    of_samples = [sum(weights[name] * expected[name][sample] for name in weights) for sample in range(2)]
    assert total(method, terms) == pytest.approx(of_samples, rel=1e-12)


LOG_MSE = 4 * L**2
FD_CMKD: list[tuple[dict[str, Any], float, float]] = [
    ({}, 0.8, LOG_MSE),
    ({"log_scale": 1.0}, 0.8, 16 * math.log(1.5) ** 2),
    ({"high_distance": "mse"}, 0.8, 4.0),
    ({"reduction": "mean"}, 0.2, LOG_MSE / 4),
    ({"scale": False}, 34.0, (math.log(5) + math.log(3)) ** 2),
]


@pytest.mark.parametrize(("changes", "low", "high"), FD_CMKD, ids=[repr(case[0]) for case in FD_CMKD])
def test_the_distances_of_fd_cmkd(changes: dict[str, Any], low: float, high: float) -> None:
    """D = 4: bins 0, 1 and 2, of which 1 is low and 2 high.

    Bin 2 is h (1, -1, 1, -1) with h = (x0 - x1 + x2 - x3) / 4; low is what is left after mean and bin 2.
    Teacher (5, 1, 1, 1): mean 2, h = 1, low (2, 0, -2, 0). Student (6, 11, 0, 3): mean 5, h = -2, low
    (3, 4, -3, -4). Over their norms: low (1, 0, -1, 0) / sqrt 2 and (0.6, 0.8, -0.6, -0.8) / sqrt 2, whose
    cosine is 0.6: L_low = 2 - 2 * 0.6 = 0.8. High (1, -1, 1, -1) / 2 and its opposite: under MSE 4 * 1^2 = 4.
    s(1/2) is ln(1 + 2/2) / 2 = L / 2 with a = sqrt D = 2: L_high = 4 (L / 2 + L / 2)^2; ln 1.5 with a = 1:
    4 (2 ln 1.5)^2. Not scaled, low differs by (1, 4, -1, -4): 34. High is 1 and -2 in each channel, with
    s(1) = ln 3 / 2 and s(2) = ln 5 / 2: L_high = 4 (ln 3 / 2 + ln 5 / 2)^2.
    """
    method = build(FDCMKDSpec(**changes), 4, 4, classes=2).double()
    terms = method.terms(step([[6.0, 11.0, 0.0, 3.0]], [[5.0, 1.0, 1.0, 1.0]], [0]))
    assert terms["low"].tolist() == pytest.approx([low], rel=1e-12)
    assert terms["high"].tolist() == pytest.approx([high], rel=1e-12)


def test_fd_cmkd_as_a_whole() -> None:
    """The features of the test above, twice: of class 0 and of class 1.

    After ReLU and in units of 1 / sqrt 2, low is (1, 0, 0, 0) and (0.6, 0.8, 0, 0); high is (1, 0, 1, 0) / 2
    and (0, 1, 0, 1) / 2. Shared, low: scores (5, 0) L of the teacher, p = (32, 1) / 33, and (3, 1) L of the
    student, (8, 2) / 10. Shared, high: (1, 0) L, (2, 1) / 3, and (0, 2) L, (1, 4) / 5. Class 0: L_align =
    ln(33/32 * 10/8 * 3/2 * 5); class 1: ln(33 * 5 * 3 * 5/4). Heads, low: a bias of ln 3, (3, 1) / 4; high:
    (1, 0) L, (2, 1) / 3. Class 0: L_heads = ln(4/3 * 3/2) = L; class 1: ln(4 * 3).
    """
    spec = FDCMKDSpec(low_weight=3.0, high_weight=2.0, align_weight=5.0, band_head_weight=7.0)
    method: Any = build(spec, 4, 4, classes=2).double()
    shared, heads = method.shared, method.heads
    root, none = math.sqrt(2), [0.0] * 4
    set_linear(shared["low"].linear, [[5 * L * root, 0.0, 0.0, 0.0], [0.0, 1.25 * L * root, 0.0, 0.0]])
    set_linear(shared["high"].linear, [[2 * L, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4 * L]])
    set_linear(heads["low"].linear, [none, none], [math.log(3), 0.0])
    set_linear(heads["high"].linear, [[0.0, 2 * L, 0.0, 0.0], none])
    terms = method.terms(step([[6.0, 11.0, 0.0, 3.0]] * 2, [[5.0, 1.0, 1.0, 1.0]] * 2, [0, 1]))
    align = [math.log(33 / 32 * 10 / 8 * 3 / 2 * 5), math.log(33 * 5 * 3 * 5 / 4)]
    own = [L, math.log(12)]
    assert terms["align"].tolist() == pytest.approx(align, rel=1e-12)
    assert terms["heads"].tolist() == pytest.approx(own, rel=1e-12)
    distances = 3 * 0.8 + 2 * LOG_MSE
    expected = [distances + 5 * align[sample] + 7 * own[sample] for sample in range(2)]
    assert total(method, terms) == pytest.approx(expected, rel=1e-12)
