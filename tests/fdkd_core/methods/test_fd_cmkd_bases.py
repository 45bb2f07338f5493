"""FD-CMKD with bands of other bases."""

from __future__ import annotations

import pytest
import torch

from fdkd_core.bands import class_basis, dct_basis, num_low, pca_basis
from fdkd_core.losses.features import l2_normalize
from fdkd_core.methods import build_method
from fdkd_core.methods.base import MethodContext, StepViews
from fdkd_core.methods.fd_cmkd import FDCMKD, BandBasis
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec

CLASSES, ROWS, DIM = 3, 40, 10
LABELS = torch.arange(ROWS) % CLASSES
BASES = ["dct", "pca", "class", "random"]


def teacher_outputs() -> ModelOutput:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(ROWS, DIM, generator=generator)
    means = 2 * torch.randn(CLASSES, DIM, generator=generator)
    return ModelOutput((means[LABELS] + noise).relu(), torch.randn(ROWS, CLASSES, generator=generator))


def build(basis: str, *, student_dim: int = DIM, rows: int = ROWS, **changes: object) -> FDCMKD:
    torch.manual_seed(0)
    outputs = ModelOutput(*(part[:rows] for part in teacher_outputs()))
    context = MethodContext(student_dim, DIM, CLASSES, outputs, LABELS[:rows], rows)
    method = build_method(FDCMKDSpec().model_copy(update={"basis": basis, **changes}), context)
    assert isinstance(method, FDCMKD)
    return method


def views(student: torch.Tensor) -> StepViews:
    outputs, batch = teacher_outputs(), len(student)
    teacher = ModelOutput(*(part[:batch] for part in outputs))
    return StepViews(ModelOutput(student, torch.zeros(batch, CLASSES)), teacher, LABELS[:batch])


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("rows", [ROWS, 0])
def test_gradients_reach_the_student_and_every_parameter(basis: str, rows: int) -> None:
    student = torch.rand(5, 6, requires_grad=True)
    method = build(basis, student_dim=6, rows=rows)
    terms = method.terms(views(student))
    assert terms.keys() == method.weights.keys()
    sum(term.sum() for term in terms.values()).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in method.parameters())


@pytest.mark.parametrize("basis", BASES)
def test_a_perfect_student_is_at_no_distance(basis: str) -> None:
    method = build(basis)
    if isinstance(method.projector, torch.nn.Linear):
        with torch.no_grad():
            method.projector.weight.copy_(torch.eye(DIM))
            method.projector.bias.zero_()
    terms = method.terms(views(teacher_outputs().features[:5]))
    assert terms["low"].abs().max() < 1e-6
    assert terms["high"].abs().max() < 1e-6


def test_low_distances_equal_their_definition() -> None:
    """By coefficients instead of by projections: on an orthonormal basis it is the same."""
    student, outputs = torch.rand(5, DIM), teacher_outputs()
    k = num_low(DIM, 0.5)
    for basis, matrix, centre in (
        ("dct", dct_basis(DIM), None),
        ("pca", pca_basis(outputs.features), outputs.features.mean(dim=0)),
        ("class", class_basis(outputs.features, LABELS), outputs.features.mean(dim=0)),
    ):
        method = build(basis)
        projected = method.projector(student)
        sides = []
        for side in (projected, outputs.features[:5]):
            centred = side - (side.mean(dim=1, keepdim=True) if centre is None else centre)
            sides.append(l2_normalize(centred @ matrix[:, :k]))
        wanted = (sides[0] - sides[1]).square().sum(dim=1)
        found = method.terms(views(student))["low"]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("basis", ["pca", "class"])
def test_the_student_begins_at_the_teachers_centre(basis: str) -> None:
    method = build(basis)
    centre = teacher_outputs().features.mean(dim=0)
    torch.testing.assert_close(method.projector(torch.zeros(1, DIM))[0], centre)


PAIRED = (torch.arange(ROWS) % 4 == 0) | (torch.arange(ROWS) % 7 == 0)


def taught(basis: str, paired: torch.Tensor | None, *, rows: torch.Tensor | None = None) -> FDCMKD:
    """With zeros where there is no teacher, as a job has them; or of `rows` as if there were no others."""
    outputs, labels = teacher_outputs(), LABELS
    if paired is not None:
        outputs = ModelOutput(*(part.masked_fill(~paired[:, None], 0.0) for part in outputs))
    if rows is not None:
        outputs, labels = ModelOutput(*(part[rows] for part in outputs)), LABELS[rows]
    torch.manual_seed(0)
    context = MethodContext(DIM, DIM, CLASSES, outputs, labels, len(labels), paired=paired)
    method = build_method(FDCMKDSpec(basis=basis), context)  # type: ignore[arg-type]
    assert isinstance(method, FDCMKD)
    return method


@pytest.mark.parametrize("basis", ["pca", "class"])
def test_a_basis_is_made_from_the_rows_that_have_a_teacher(basis: str) -> None:
    found, wanted = taught(basis, PAIRED), taught(basis, None, rows=PAIRED)
    assert isinstance(found.basis, BandBasis)
    assert isinstance(wanted.basis, BandBasis)
    assert torch.equal(found.basis.centre, wanted.basis.centre)
    assert torch.equal(found.basis.basis, wanted.basis.basis)
    assert torch.equal(found.projector.bias, wanted.projector.bias)  # type: ignore[arg-type]
    student = torch.rand(5, DIM)
    for ours, theirs in zip(found.basis(student), wanted.basis(student), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("basis", ["pca", "class"])
def test_with_all_rows_paired_a_basis_is_what_it_is_without_saying_so(basis: str) -> None:
    found, wanted = taught(basis, torch.ones(ROWS, dtype=torch.bool)), taught(basis, None)
    assert isinstance(found.basis, BandBasis)
    assert isinstance(wanted.basis, BandBasis)
    assert torch.equal(found.basis.basis, wanted.basis.basis)
    features = teacher_outputs().features
    direct = pca_basis(features) if basis == "pca" else class_basis(features, LABELS)
    assert torch.equal(wanted.basis.basis, direct)
    assert torch.equal(found.basis.centre, features.mean(dim=0))


@pytest.mark.parametrize("basis", ["pca", "class"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_basis_of_fewer_than_two_rows_is_refused(basis: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"the basis {basis} .* at least 2 .* found {count}"):
        taught(basis, torch.arange(ROWS) < count)
    assert taught("dct", torch.arange(ROWS) < count).basis is not None


def test_a_basis_is_no_part_of_a_checkpoint() -> None:
    names = {name.split(".")[0] for name in build("pca").state_dict()}
    assert names == {"projector", "shared", "heads"}


def test_the_same_seed_gives_the_same_rotation() -> None:
    assert torch.equal(build("random").basis.basis, build("random").basis.basis)
