"""Whether a job can make something of rows without a label (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.job import MethodJobSpec, TeachingSpec, teacher_pointer
from fdkd_core.spec.kinds import AnyJobSpec

Report = Mapping[str, Any]

ANSWERED_TASKS = ("classification", "multilabel", "regression")
"""Whose labels a teacher's outputs come to; see `Task.answered`."""


def unlabelled_rows(dataset: Report) -> int:
    """How many rows the dataset has without a label."""
    rows: int = dataset["splits"].get("unlabelled", {"rows": 0})["rows"]
    return rows


def unlabelled_problems(spec: AnyJobSpec, dataset: Report) -> list[Problem]:
    """Why the teachers' answers cannot stand in for labels, where there are rows that need it.

    Returns:
        `incompatible`: A teacher's answers are no labels of the task, or are taken from some rows.
        `missing_field`: Its logits were not recorded.
    """
    if not isinstance(spec, TeachingSpec) or not unlabelled_rows(dataset):
        return []
    if spec.task.kind not in ANSWERED_TASKS:
        detail = (
            "the labels of the split `unlabelled` are a teacher's answers, which are labels of "
            f"{', '.join(ANSWERED_TASKS)} and not of {spec.task.kind}"
        )
        return [Problem("incompatible", detail, "/task/kind")]
    if isinstance(spec, MethodJobSpec) and spec.paired_fraction < 1.0:
        detail = "rows of the split `unlabelled` have no label but the teacher's answer, and must keep it"
        return [Problem("incompatible", detail, "/paired_fraction")]
    return [
        Problem(
            "missing_field",
            "the labels of the split `unlabelled` are a teacher's answers: its logits are needed",
            f"{teacher_pointer(index)}/outputs_from/logits",
        )
        for index, teacher in enumerate(spec.teachers)
        if teacher.outputs_from is not None and teacher.outputs_from.logits is None
    ]
