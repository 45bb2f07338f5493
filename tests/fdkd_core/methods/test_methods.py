from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from method_steps import CLASSES, build, views
from torch.nn import functional

from fdkd_core.methods import METHODS
from fdkd_core.methods.base import StepViews, rows_of
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    PAPER_ABLATION,
    C2KDSpec,
    CIRKDSpec,
    CRDSpec,
    DISTSpec,
    DKDSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    LSKDSpec,
    MethodSpec,
    NKDSpec,
    NoneSpec,
    OFAKDSpec,
    PKDSpec,
    RKDSpec,
)

SPECS: list[MethodSpec] = [
    NoneSpec(),
    LogitKDSpec(),
    FeatureMSESpec(),
    FDCMKDSpec(),
    FD_CMKD_WITH_LOGITS,
    *PAPER_ABLATION.values(),
    DISTSpec(),
    DKDSpec(),
    LSKDSpec(),
    NKDSpec(),
    OFAKDSpec(),
    PKDSpec(),
    PKDSpec(projector="linear"),
    RKDSpec(),
    CRDSpec(),
    CRDSpec(negatives=5, exclude_same_class=False),
    C2KDSpec(),
]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("dims", [(16, 16), (6, 9), (2, 3)])
def test_terms_are_per_sample_and_have_a_weight(spec: MethodSpec, batch: int, dims: tuple[int, int]) -> None:
    method = build(spec, *dims)
    terms = method.terms(views(batch, *dims))
    assert terms.keys() == method.weights.keys()
    for term in terms.values():
        assert term.shape == (batch,)
        assert torch.isfinite(term).all()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_gradients_reach_the_student_and_the_method(spec: MethodSpec) -> None:
    step = views(student_dim=6, teacher_dim=8)
    method = build(spec, 6, 8)
    terms = method.terms(step)
    if not terms:
        return
    sum(term.sum() for term in terms.values()).backward()
    # In a network the logits come from the feature: one of the two is enough.
    reached = [part.grad.abs().sum() for part in step.student if part.grad is not None]
    assert reached
    assert max(reached) > 0
    assert all(parameter.grad is not None for parameter in method.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_every_term_pulls_at_something(spec: MethodSpec) -> None:
    step = views(12)  # among few samples C2KD may find none on whose ranks the two sides agree
    method = build(spec)
    for name, term in method.terms(step).items():
        pulled = [*step.student, *method.parameters()]
        gradients = torch.autograd.grad(term.sum(), pulled, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), name


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_dead_features_give_finite_terms_and_gradients(spec: MethodSpec) -> None:
    step = views()
    dead = torch.zeros(4, 16, requires_grad=True)
    method = build(spec)
    terms = method.terms(step._replace(student=ModelOutput(dead, step.student.logits)))
    if not terms:
        return
    sum(term.sum() for term in terms.values()).backward()
    assert all(torch.isfinite(term).all() for term in terms.values())
    assert dead.grad is None or torch.isfinite(dead.grad).all()
    assert dead.grad is None or dead.grad.abs().max() < 1e3


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_terms_follow_the_order_of_samples(spec: MethodSpec) -> None:
    step, order = views(), torch.tensor([2, 0, 3, 1])
    again = build(spec).terms(rows_of(step, order))
    for name, term in build(spec).terms(step).items():
        torch.testing.assert_close(again[name], term[order])


def naive_fd_cmkd(spec: FDCMKDSpec, method: torch.nn.Module, step: StepViews) -> dict[str, np.ndarray]:
    """The method's definition in float64 and loops, from the table of the paper."""
    student = step.student.features.detach().double().numpy()
    teacher = step.teacher.features.double().numpy()
    batch, dim = student.shape

    def bands(row: np.ndarray) -> dict[str, np.ndarray]:
        spectrum = np.fft.rfft(row)
        c = math.floor(spec.cutoff * (len(spectrum) - 1))
        low, high = np.zeros_like(spectrum), np.zeros_like(spectrum)
        low[1 : c + 1], high[c + 1 :] = spectrum[1 : c + 1], spectrum[c + 1 :]
        found = {"low": np.fft.irfft(low, dim), "high": np.fft.irfft(high, dim)}
        return {k: v / max(np.linalg.norm(v), 1e-8) for k, v in found.items()} if spec.scale else found

    def s(value: float) -> float:
        a = math.sqrt(dim) if spec.log_scale == "sqrt_dim" else spec.log_scale
        return math.copysign(math.log1p(a * abs(value)), value) / a

    def classify(layer: torch.nn.Module, band: np.ndarray, label: int) -> float:
        weight, bias = (p.detach().double().numpy() for p in layer.linear.parameters())
        scores = weight @ np.maximum(band, 0) + bias
        return float(np.log(np.exp(scores).sum()) - scores[label])

    terms: dict[str, list[float]] = {"low": [], "high": [], "align": [], "heads": []}
    for row in range(batch):
        s_bands, t_bands, y = bands(student[row]), bands(teacher[row]), int(step.labels[row])
        low = sum((s_bands["low"][d] - t_bands["low"][d]) ** 2 for d in range(dim))
        if spec.high_distance == "log_mse":
            high = sum((s(s_bands["high"][d]) - s(t_bands["high"][d])) ** 2 for d in range(dim))
        else:
            high = sum((s_bands["high"][d] - t_bands["high"][d]) ** 2 for d in range(dim))
        share = dim if spec.reduction == "mean" else 1
        terms["low"].append(low / share)
        terms["high"].append(high / share)
        terms["align"].append(
            sum(
                classify(method.shared[b], side[b], y) for b in ("low", "high") for side in (t_bands, s_bands)
            )
        )
        terms["heads"].append(sum(classify(method.heads[b], s_bands[b], y) for b in ("low", "high")))
    return {name: np.array(values) for name, values in terms.items()}


@pytest.mark.parametrize("dim", [4, 5, 16, 31])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cutoff": 0.25},
        {"scale": False},
        {"log_scale": 1.0},
        {"log_scale": 3.5},
        {"high_distance": "mse"},
        {"reduction": "mean"},
    ],
    ids=repr,
)
def test_fd_cmkd_equals_its_definition(dim: int, changes: dict[str, object]) -> None:
    spec = FDCMKDSpec().model_copy(update=changes)
    method, step = build(spec, dim, dim), views(student_dim=dim, teacher_dim=dim)
    expected = naive_fd_cmkd(spec, method, step)
    for name, term in method.terms(step).items():
        np.testing.assert_allclose(term.detach().numpy(), expected[name], rtol=2e-4, atol=1e-5)


def test_fd_cmkd_is_zero_in_its_distances_for_a_perfect_student() -> None:
    step = views()
    perfect = step._replace(student=ModelOutput(3.0 * step.teacher.features + 0.7, step.student.logits))
    terms = build(FDCMKDSpec()).terms(perfect)  # scale and mean of the features do not count
    assert terms["low"].abs().max() < 1e-9
    assert terms["high"].abs().max() < 1e-9


def test_high_weight_does_not_touch_the_low_band() -> None:
    channel = torch.arange(16)
    tone = torch.cos(2 * math.pi * 2 * channel / 16)[None].repeat(4, 1)
    step = views()._replace(teacher=ModelOutput(tone, torch.zeros(4, CLASSES)))
    near = step._replace(student=ModelOutput(5 * tone, step.student.logits))
    assert build(FDCMKDSpec(scale=False)).terms(near)["high"].abs().max() < 1e-9


def test_without_split_there_is_one_band() -> None:
    method = build(PAPER_ABLATION["align only"])
    assert set(method.weights) == {"whole", "align"}
    assert method.weights["whole"] == 0.0
    assert list(method.shared) == ["whole"]


def test_feature_mse_ablation_equals_the_feature_baseline() -> None:
    step = views()
    found = build(PAPER_ABLATION["feature MSE"]).terms(step)["whole"]
    expected = build(FeatureMSESpec(normalize=False)).terms(step)["feature"]
    torch.testing.assert_close(found, expected)


def test_feature_mse_normalised_is_two_minus_two_cosines() -> None:
    step = views()
    expected = 2 - 2 * functional.cosine_similarity(step.student.features, step.teacher.features)
    torch.testing.assert_close(build(FeatureMSESpec()).terms(step)["feature"], expected)


def test_switches_leave_no_parameters_behind() -> None:
    def names(spec: FDCMKDSpec, student_dim: int = 16) -> set[str]:
        return {name.split(".")[0] for name, _ in build(spec, student_dim).named_parameters()}

    assert names(FDCMKDSpec()) == {"shared", "heads"}
    assert names(FDCMKDSpec(band_heads=False)) == {"shared"}
    assert names(FDCMKDSpec(shared_classifier=False, band_heads=False)) == set()
    assert names(FDCMKDSpec(shared_classifier=False, band_heads=False), 12) == {"projector"}
    assert names(FDCMKDSpec(shared_classifier=False, band_heads=False, projector="linear")) == {"projector"}


def test_bf16_features_give_the_fp32_terms_within_tolerance() -> None:
    step = views()
    half = step._replace(
        student=ModelOutput(
            step.student.features.detach().bfloat16(), step.student.logits.detach().bfloat16()
        ),
        teacher=ModelOutput(step.teacher.features, step.teacher.logits),
    )
    for spec in SPECS:
        with torch.autocast("cpu", torch.bfloat16):
            found = build(spec).terms(half)
        for name, term in build(spec).terms(step).items():
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], term.detach(), rtol=0.05, atol=0.05)


def test_a_split_of_one_channel_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least 2 channels"):
        build(FDCMKDSpec(), 1, 1)


def test_the_table_has_every_method_of_the_spec() -> None:
    members = set(MethodSpec.__args__[0].__args__)
    assert set(METHODS) == members
    # What is for maps alone is in test_per_pixel.py.
    assert {type(spec) for spec in SPECS} | {CIRKDSpec} == members
