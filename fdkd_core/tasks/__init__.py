"""The table of tasks: to add one, add a spec class and its facts, a file, a line here and a test file."""

from __future__ import annotations

from collections.abc import Callable

from fdkd_core.data.table import PairedDataset
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.classification import Classification


def _classification(spec: ClassificationSpec, data: PairedDataset) -> Task:
    return Classification()


TASKS: dict[type[TaskSpec], Callable[..., Task]] = {
    ClassificationSpec: _classification,
}
"""Its keys are exactly the members of `TaskSpec`."""


def task_of(data: PairedDataset) -> Task:
    """The task that a dataset was read for."""
    return TASKS[type(data.task)](data.task, data)
