"""Which methods work for sets of classes and for numbers, and that they use the task's own loss there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_steps import NUM_ROWS, teacher_model, views

from fdkd_core.data.table import TargetScale
from fdkd_core.losses.binary import tempered_binary_kl
from fdkd_core.losses.embeddings import embedding_distance
from fdkd_core.losses.numbers import half_squared_error
from fdkd_core.methods import METHODS, build_method
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    CIRKDSpec,
    CombineSpec,
    CRDSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
    RKDSpec,
)
from fdkd_core.spec.catalogue import task_problems
from fdkd_core.spec.tasks import ClassificationSpec, MultilabelSpec, RegressionSpec, RetrievalSpec
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.multilabel import Multilabel
from fdkd_core.tasks.regression import Regression
from fdkd_core.tasks.retrieval import Retrieval

OUTPUTS = 3
SCALE = TargetScale(("a", "b", "c"), np.zeros(OUTPUTS), np.ones(OUTPUTS))
TASKS = {
    "multilabel": (MultilabelSpec(), Multilabel(MultilabelSpec())),
    "regression": (RegressionSpec(), Regression(RegressionSpec(), SCALE)),
    "retrieval": (RetrievalSpec(), Retrieval(RetrievalSpec())),
}
FITTING: list[MethodSpec] = [
    NoneSpec(), LogitKDSpec(), FeatureMSESpec(), PKDSpec(), RKDSpec(), FDCMKDSpec(), FDCMKDSpec(basis="pca"),
    FDCMKDSpec(basis="class", split=False), CRDSpec(exclude_same_class=False), FD_CMKD_WITH_LOGITS,
]  # fmt: skip


def labels(kind: str, rows: int) -> torch.Tensor:
    if kind == "retrieval":
        return torch.arange(rows) % 2
    found = torch.randn(rows, OUTPUTS, generator=torch.Generator().manual_seed(7))
    return (found > 0).float() if kind == "multilabel" else found


def build(spec: MethodSpec, kind: str) -> Method:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    outputs = ModelOutput(*(torch.randn(NUM_ROWS, n, generator=generator) for n in (16, OUTPUTS)))
    context = MethodContext(
        16, 16, OUTPUTS, outputs, labels(kind, NUM_ROWS), NUM_ROWS, teacher_model(), task=TASKS[kind][1]
    )
    return build_method(spec, context)


def step(kind: str, batch: int = 4) -> StepViews:
    return views(batch, classes=OUTPUTS)._replace(labels=labels(kind, batch))


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("spec", FITTING, ids=repr)
def test_methods_without_classes_of_their_own_fit_every_task(spec: MethodSpec, kind: str) -> None:
    assert task_problems(spec, TASKS[kind][0]) == []
    taught = step(kind)
    terms = build(spec, kind).terms(taught)
    for term in terms.values():
        assert term.shape == (4,)
        assert torch.isfinite(term).all()
    if terms:
        sum(term.sum() for term in terms.values()).backward()
        assert any(part.grad is not None and part.grad.abs().sum() > 0 for part in taught.student)


@pytest.mark.parametrize("kind", TASKS)
def test_all_other_methods_are_refused_by_name(kind: str) -> None:
    fitting = {type(spec) for spec in FITTING}
    others = [spec() for spec in METHODS if spec not in (*fitting, CombineSpec, CIRKDSpec)]
    assert len(others) == 6
    # A row of retrieval has a label, by which these two go; what it lacks is a score of it.
    by_label = [CRDSpec(), FDCMKDSpec(basis="class")]
    assert [bool(task_problems(spec, TASKS[kind][0])) for spec in by_label] == 2 * [kind != "retrieval"]
    for spec in others if kind == "retrieval" else [*others, *by_label]:
        (problem,) = task_problems(spec, TASKS[kind][0])
        assert problem.code == "incompatible"
        assert spec.name in problem.detail
        assert task_problems(spec, ClassificationSpec()) == []


def test_answers_are_compared_by_the_task() -> None:
    taught = step("multilabel")
    student, teacher = taught.student.logits, taught.teacher.logits
    found = build(LogitKDSpec(temperature=3.0), "multilabel").terms(taught)["logit"]
    torch.testing.assert_close(found, tempered_binary_kl(student, teacher, temperature=3.0))
    found = build(LogitKDSpec(temperature=3.0), "regression").terms(taught)["logit"]
    torch.testing.assert_close(found, half_squared_error(student, teacher))
    found = build(LogitKDSpec(temperature=3.0), "retrieval").terms(taught)["logit"]
    torch.testing.assert_close(found, embedding_distance(student, teacher))


@pytest.mark.parametrize("kind", TASKS)
def test_the_classifiers_of_fd_cmkd_learn_by_the_loss_of_the_task(kind: str) -> None:
    """Of one band without scaling, so that a classifier sees the feature itself."""
    task: Task = TASKS[kind][1]
    method = build(FDCMKDSpec(split=False, scale=False), kind)
    taught = step(kind)
    terms = method.terms(taught)
    head, shared = method.heads["whole"], method.shared["whole"]
    expected = task.loss(head(taught.student.features), taught.labels)
    torch.testing.assert_close(terms["heads"], expected)
    both = [task.loss(shared(side.features), taught.labels) for side in (taught.teacher, taught.student)]
    torch.testing.assert_close(terms["align"], both[0] + both[1])
