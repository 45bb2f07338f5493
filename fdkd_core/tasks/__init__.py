"""The table of tasks: to add one, add a spec class and its facts, a file, a line here and a test file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdkd_core.data.table import PairedDataset
from fdkd_core.spec.tasks import (
    ClassificationSpec,
    MultilabelSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
)
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.classification import Classification
from fdkd_core.tasks.multilabel import Multilabel
from fdkd_core.tasks.regression import Regression
from fdkd_core.tasks.retrieval import Retrieval
from fdkd_core.tasks.segmentation import Segmentation


def _classification(spec: ClassificationSpec, data: PairedDataset) -> Task:
    return Classification()


def _multilabel(spec: MultilabelSpec, data: PairedDataset) -> Task:
    return Multilabel(spec)


def _regression(spec: RegressionSpec, data: PairedDataset) -> Task:
    assert data.targets is not None  # its labels are numbers
    return Regression(spec, data.targets)


def _retrieval(spec: RetrievalSpec, data: PairedDataset) -> Task:
    return Retrieval(spec, data.targets)


def _segmentation(spec: SegmentationSpec, data: PairedDataset) -> Task:
    return Segmentation()


TASKS: dict[type, Callable[[Any, PairedDataset], Task]] = {
    ClassificationSpec: _classification,
    MultilabelSpec: _multilabel,
    RegressionSpec: _regression,
    RetrievalSpec: _retrieval,
    SegmentationSpec: _segmentation,
}
"""Its keys are exactly the members of `TaskSpec`."""


def task_of(data: PairedDataset) -> Task:
    """The task that a dataset was read for."""
    return TASKS[type(data.task)](data.task, data)
