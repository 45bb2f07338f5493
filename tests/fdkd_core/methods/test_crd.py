from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from method_steps import NUM_ROWS, build, views

from fdkd_core.methods.base import MethodContext
from fdkd_core.methods.crd import CRD
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import CRDSpec

SPEC = CRDSpec(embedding_dim=7, temperature=0.2)


def naive(method: CRD, step: object, spec: CRDSpec) -> np.ndarray:
    """The first step's loss in loops, all rows of other classes as negatives."""
    features = step.student.features, step.teacher.features
    heads = method.student_head, method.teacher_head
    memories = method.memories.double().numpy()
    total = np.zeros(len(step.labels))
    for side in (0, 1):
        embedded = heads[side](features[side]).detach().double().numpy()
        embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
        other = memories[1 - side]

        def score(i: int, row: int, a: np.ndarray = embedded, m: np.ndarray = other) -> float:
            return math.exp(float(a[i] @ m[row]) / spec.temperature)

        labels = step.labels.tolist()
        negatives = {
            i: [row for row in range(NUM_ROWS) if row % 3 != label] for i, label in enumerate(labels)
        }
        positions = step.positions.tolist()
        scores = [score(i, positions[i]) for i in negatives]
        scores += [score(i, row) for i, rows in negatives.items() for row in rows]
        z = NUM_ROWS * np.mean(scores)
        for i, rows in negatives.items():
            noise = len(rows) / NUM_ROWS
            p = score(i, positions[i]) / z
            total[i] -= math.log(p / (p + noise))
            for row in rows:
                p = score(i, row) / z
                total[i] -= math.log(noise / (p + noise))
    return total


def test_it_equals_its_definition() -> None:
    step = views(5, 6, 9)
    expected = naive(build(SPEC, 6, 9), step, SPEC)
    found = build(SPEC, 6, 9).terms(step)["contrast"]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4)


def test_rows_that_were_seen_are_remembered_and_no_others() -> None:
    step, method = views(4), build(SPEC)
    before = method.memories.clone()
    embedded = torch.stack(
        [method.student_head(step.student.features), method.teacher_head(step.teacher.features)]
    ).detach()
    embedded /= embedded.norm(dim=2, keepdim=True)
    method.terms(step)
    assert torch.equal(method.memories[:, 4:], before[:, 4:])
    moved = 0.5 * before[:, :4] + 0.5 * embedded
    torch.testing.assert_close(method.memories[:, :4], moved / moved.norm(dim=2, keepdim=True))
    assert int(method.step) == 1
    assert not method.memories.requires_grad


def test_a_step_looks_at_the_memory_as_it_was_before() -> None:
    step, method = views(4), build(SPEC)
    first = method.terms(step)["contrast"]
    first.sum().backward()  # the memory has changed in place since
    assert not torch.equal(method.terms(step)["contrast"], first)


def test_the_normaliser_is_that_of_the_first_step() -> None:
    method = build(SPEC)
    method.terms(views(4))
    kept = method.log_normalizers.clone()
    assert torch.isfinite(kept).all()
    method.terms(views(4, seed=5))
    assert torch.equal(method.log_normalizers, kept)


@pytest.mark.parametrize("exclude", [True, False])
def test_rows_of_the_own_class_push_only_when_asked_to(exclude: bool) -> None:
    spec = SPEC.model_copy(update={"exclude_same_class": exclude})
    step = views(1)
    found = build(spec).terms(step)["contrast"]
    changed = build(spec)
    changed.memories[:, 3] = -changed.memories[:, 3]  # of class 0 as row 0, and not row 0
    changed.log_normalizers = build(spec).log_normalizers
    assert (changed.terms(step)["contrast"] == found).all() == exclude


def test_what_is_drawn_follows_from_seed_and_step() -> None:
    spec = SPEC.model_copy(update={"negatives": 5})

    def draws(seed: int) -> list[list[int]]:
        method = build(spec, seed=seed)
        found = []
        for _ in range(3):
            torch.manual_seed(len(found))  # must not matter
            found.append(method._draw().tolist())
            method.terms(views(4))
        return found

    first = draws(0)
    assert draws(0) == first
    assert draws(1) != first
    assert first[0] != first[1] != first[2]
    assert all(len(set(rows)) == 5 and set(rows) <= set(range(NUM_ROWS)) for rows in first)


def test_more_negatives_than_rows_are_all_rows() -> None:
    assert build(SPEC)._draw().tolist() == list(range(NUM_ROWS))
    assert build(CRDSpec(negatives=NUM_ROWS))._draw().tolist() == list(range(NUM_ROWS))


def test_a_checkpoint_holds_memories_counter_and_normalisers() -> None:
    kept = build(SPEC).state_dict()
    assert {name for name in kept if "head" not in name} == {"memories", "step", "log_normalizers"}
    assert kept["memories"].numel() * 4 == 8 * SPEC.embedding_dim * NUM_ROWS  # bytes, as the spec says


def test_an_anchor_without_negatives_has_a_finite_loss() -> None:
    method = build(SPEC)
    method.row_labels.zero_()
    step = views(3)
    step = step._replace(labels=torch.zeros(3, dtype=torch.int64))
    assert torch.isfinite(method.terms(step)["contrast"]).all()


def test_the_teacher_is_constant_and_its_head_is_not() -> None:
    step, method = views(4), build(SPEC)
    method.terms(step)["contrast"].sum().backward()
    assert step.student.features.grad is not None
    assert step.student.logits.grad is None
    assert method.teacher_head.weight.grad.abs().sum() > 0


def test_rows_must_be_known() -> None:
    for context in (
        MethodContext(4, 4, 3, labels=torch.zeros(2, dtype=torch.int64)),
        MethodContext(4, 4, 3, ModelOutput(torch.zeros(2, 4), torch.zeros(2, 3)), num_rows=2),
    ):
        with pytest.raises(ValueError, match="number and labels"):
            CRD(CRDSpec(), context)


def test_rows_without_a_teacher_are_no_negatives() -> None:
    """Nothing was ever remembered of them."""
    for negatives in (3, 1000):
        spec = CRDSpec(negatives=negatives)
        context = MethodContext(
            student_dim=4, teacher_dim=4, num_classes=2, labels=torch.arange(10) % 2, num_rows=10,
            paired=torch.arange(10) < 6,
        )  # fmt: skip
        method = CRD(spec, context)
        assert method._draw().max() < 6
        assert len(method._draw()) == min(negatives, 6)
