from __future__ import annotations

import torch
from method_steps import build, views

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import DISTSpec


def test_it_compares_rows_and_columns_of_probabilities() -> None:
    step = views(5)
    terms = build(DISTSpec(temperature=2.0)).terms(step)
    student, teacher = (step.student.logits / 2).softmax(1), (step.teacher.logits / 2).softmax(1)
    rows = [torch.corrcoef(torch.stack([student[i], teacher[i]]))[0, 1] for i in range(5)]
    columns = [torch.corrcoef(torch.stack([student[:, c], teacher[:, c]]))[0, 1] for c in range(3)]
    torch.testing.assert_close(terms["inter"], 4 * (1 - torch.stack(rows)))
    torch.testing.assert_close(terms["intra"], (4 * (1 - torch.stack(columns).mean())).expand(5))


def test_default_weights_are_the_papers() -> None:
    assert build(DISTSpec()).weights == {"inter": 2.0, "intra": 2.0}


def test_a_single_row_has_no_column_part() -> None:
    assert build(DISTSpec()).terms(views(1))["intra"].tolist() == [0.0]


def test_two_classes_leave_the_columns() -> None:
    step = views(6, classes=2)
    terms = build(DISTSpec(), classes=2).terms(step)
    (rows,) = torch.autograd.grad(terms["inter"].sum(), step.student.logits, retain_graph=True)
    (columns,) = torch.autograd.grad(terms["intra"].sum(), step.student.logits)
    assert rows.abs().max() < 1e-5
    assert columns.abs().max() > 1e-3


def test_a_student_that_is_only_less_sure_is_hardly_wrong() -> None:
    step = views(5)
    softer = step._replace(student=ModelOutput(step.student.features, 0.9 * step.teacher.logits))
    terms = build(DISTSpec()).terms(softer)
    assert terms["inter"].max() < 0.01
    assert terms["intra"].max() < 0.01
