"""What a diagnosis asks of each task: to add one, a file and a line here."""

from __future__ import annotations

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.diagnosis.tasks.classification import DiagnosedClassification
from fdkd_core.diagnosis.tasks.multilabel import DiagnosedMultilabel
from fdkd_core.diagnosis.tasks.regression import DiagnosedRegression
from fdkd_core.diagnosis.tasks.retrieval import DiagnosedRetrieval
from fdkd_core.diagnosis.tasks.segmentation import DiagnosedSegmentation
from fdkd_core.spec.tasks import TaskKind

__all__ = ["DIAGNOSED", "DiagnosedSegmentation", "DiagnosedTask", "TaskWords", "diagnosed", "words_of"]

DIAGNOSED: dict[TaskKind, type[DiagnosedTask]] = {
    "classification": DiagnosedClassification,
    "multilabel": DiagnosedMultilabel,
    "regression": DiagnosedRegression,
    "retrieval": DiagnosedRetrieval,
    "segmentation": DiagnosedSegmentation,
}
"""Its keys are all kinds of tasks."""


def diagnosed(data: PairedDataset) -> DiagnosedTask:
    """What is asked of the task that a dataset was read for."""
    return DIAGNOSED[data.task.kind](data)


def words_of(kind: TaskKind) -> TaskWords:
    """How a task is spoken of."""
    return DIAGNOSED[kind].words
