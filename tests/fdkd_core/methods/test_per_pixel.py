"""Methods on maps: each place as a sample of its own, and relations between places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdkd_core.losses.correlation import channel_distance
from fdkd_core.losses.features import l2_normalize, squared_error
from fdkd_core.losses.logits import tempered_kl
from fdkd_core.losses.pixels import averaged_to, pixel_relation_kl
from fdkd_core.methods import METHODS, PER_PIXEL, build_method
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.methods.fd_cmkd import FDCMKD
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    CIRKDSpec,
    CombinedPart,
    CombineSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
)
from fdkd_core.spec.catalogue import task_problems
from fdkd_core.spec.tasks import ClassificationSpec, RegressionSpec, SegmentationSpec
from fdkd_core.tasks.segmentation import Segmentation

DIM, CLASSES, BATCH = 8, 3, 4
BOTH = CombineSpec(parts=(CombinedPart(method=CIRKDSpec()), CombinedPart(method=PKDSpec())))
FITTING: list[MethodSpec] = [
    NoneSpec(), LogitKDSpec(), FeatureMSESpec(), PKDSpec(), FDCMKDSpec(), FDCMKDSpec(basis="dct"),
    FDCMKDSpec(split=False), CIRKDSpec(), CIRKDSpec(side=2), BOTH,
]  # fmt: skip


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(student_dim: int = DIM, side: int = 3) -> StepViews:
    """Maps of the student of side x side + 1 places, of the teacher of 3 x 4."""
    student = ModelOutput(
        random(BATCH, student_dim, side, side + 1, seed=0).requires_grad_(),
        random(BATCH, CLASSES, side, side + 1, seed=1).requires_grad_(),
    )
    teacher = ModelOutput(random(BATCH, DIM, 3, 4, seed=2), random(BATCH, CLASSES, 3, 4, seed=3))
    return StepViews(student, teacher, torch.zeros(BATCH, 6, 8, dtype=torch.uint8))


def build(spec: MethodSpec, student_dim: int = DIM) -> Method:
    torch.manual_seed(0)
    outputs = ModelOutput(torch.empty(0, DIM), torch.empty(0, CLASSES))
    return build_method(spec, MethodContext(student_dim, DIM, CLASSES, outputs, task=Segmentation()))


def test_the_table_says_which_methods_fit() -> None:
    task = SegmentationSpec()
    fitting = {type(spec) for spec in FITTING}
    assert set(PER_PIXEL) < fitting
    for spec in FITTING:
        assert task_problems(spec, task) == []
    others = [spec() for spec in METHODS if spec not in fitting]
    assert {spec.name for spec in others} == {
        "dist", "dkd", "lskd", "nkd", "ofa_kd", "rkd", "crd", "c2kd"
    }  # fmt: skip
    for spec in others:
        (problem,) = task_problems(spec, task)
        assert (problem.code, problem.pointer) == ("incompatible", "/method")
        assert spec.name in problem.detail
    for basis in ("pca", "class"):
        (problem,) = task_problems(FDCMKDSpec(basis=basis), task)
        assert problem.pointer == "/method/basis"
    (problem,) = task_problems(
        CombineSpec(parts=(CombinedPart(method=PKDSpec()), CombinedPart(method=CIRKDSpec()))),
        RegressionSpec(),
    )
    assert problem.pointer == "/method/parts/1/method"
    assert len(task_problems(CIRKDSpec(), ClassificationSpec())) == 1


@pytest.mark.parametrize("spec", FITTING, ids=repr)
@pytest.mark.parametrize(("student_dim", "side"), [(DIM, 3), (5, 6), (DIM, 2)])
def test_terms_are_per_sample_and_reach_the_student(spec: MethodSpec, student_dim: int, side: int) -> None:
    taught = step(student_dim, side)
    method = build(spec, student_dim)
    terms = method.terms(taught)
    assert terms.keys() == method.weights.keys() == method.weights_at(0.5).keys()
    for term in terms.values():
        assert term.shape == (BATCH,)
        assert torch.isfinite(term).all()
    if terms:
        sum(term.sum() for term in terms.values()).backward()
        assert any(part.grad is not None and part.grad.abs().sum() > 0 for part in taught.student)


def over_places(loss, student: Tensor, teacher: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """Mean over places of a loss of vectors, by a loop."""
    height, width = teacher.shape[2:]
    found = [loss(student[:, :, y, x], teacher[:, :, y, x]) for y in range(height) for x in range(width)]
    return torch.stack(found).mean(dim=0)


def test_each_place_is_a_row() -> None:
    taught = step()
    (mine, my_logits), (theirs, their_logits) = taught.student, taught.teacher
    found = build(LogitKDSpec(temperature=3.0)).terms(taught)["logit"]
    kl = over_places(lambda s, t: tempered_kl(s, t, temperature=3.0), my_logits, their_logits)
    torch.testing.assert_close(found, kl)
    found = build(FeatureMSESpec()).terms(taught)["feature"]
    distance = over_places(lambda s, t: squared_error(l2_normalize(s), l2_normalize(t)), mine, theirs)
    torch.testing.assert_close(found, distance)
    spec = FDCMKDSpec(shared_classifier=False, band_heads=False)
    plain = FDCMKD(spec, MethodContext(DIM, DIM, CLASSES))
    found = build(FDCMKDSpec()).terms(taught)
    assert found.keys() == {"low", "high"}  # the paper has no classifiers on maps
    for band in found:
        by_loop = over_places(
            lambda s, t, band=band: plain.terms(StepViews(ModelOutput(s, s), ModelOutput(t, t), s))[band],
            mine,
            theirs,
        )
        torch.testing.assert_close(found[band], by_loop)


def test_pkd_standardises_over_batch_and_space() -> None:
    """As the paper does: the mean over the batch is mean_d (1 - rho_d) over all places of all samples."""
    taught = step()
    flat = [part.features.permute(0, 2, 3, 1).reshape(-1, DIM) for part in (taught.student, taught.teacher)]
    expected = channel_distance(*flat).reshape(BATCH, -1).mean(dim=1)
    torch.testing.assert_close(build(PKDSpec()).terms(taught)["feature"], expected)


def test_maps_of_the_student_are_brought_to_the_size_of_the_teachers() -> None:
    taught = step(side=6)
    small = ModelOutput(*(averaged_to(part, (3, 4)) for part in taught.student))
    for spec in (LogitKDSpec(), PKDSpec(), FDCMKDSpec()):
        found, expected = (build(spec).terms(views) for views in (taught, taught._replace(student=small)))
        for name, term in found.items():
            torch.testing.assert_close(term, expected[name])


def test_cirkd_compares_all_places_of_the_batch() -> None:
    taught = step(student_dim=5)
    terms = build(CIRKDSpec(side=3), 5).terms(taught)
    small = [averaged_to(part.features, (3, 3)) for part in (taught.student, taught.teacher)]
    torch.testing.assert_close(terms["pixel"], pixel_relation_kl(*small, temperature=0.1))
    expected = build(LogitKDSpec(temperature=1.0)).terms(taught)["logit"]
    torch.testing.assert_close(terms["logit"], expected)
    same = taught._replace(teacher=ModelOutput(*(part.detach() for part in taught.student)))
    for term in build(CIRKDSpec(), 5).terms(same).values():
        torch.testing.assert_close(term, torch.zeros(BATCH), atol=1e-5, rtol=0)


def test_a_balance_and_a_schedule_are_of_the_whole() -> None:
    spec = FDCMKDSpec(balance="gradient_norm", weight_schedule={"decay": "linear"})
    method = build(spec)
    assert method.weights_at(0.5)["low"] == pytest.approx(0.5 * method.weights["low"])
    taught = step()
    means = {name: term.mean() for name, term in method.terms(taught).items()}
    assert method.balance is not None
    factors = method.balance.factors(taught.student.features.square().mean(), means, taught.student.features)
    assert factors.keys() == {"low", "high"}
    assert "balance.norms" in method.state_dict()
