"""Whether the labels of a dataset, and how it is paired, suit the task of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.job import MethodJobSpec
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import DistillingSpec
from fdkd_core.spec.tasks import LABEL_WORDS, TASK_FACTS, ClassificationSpec, TaskSpec, facts_of

Report = Mapping[str, Any]


def output_names(dataset: Report) -> list[str]:
    """Names of the numbers that a network for this data answers with: its classes, or its targets."""
    return [*dataset["classes"], *(target["name"] for target in dataset.get("targets", ()))]


def label_problems(task: TaskSpec, dataset: Report) -> list[Problem]:
    """Why a task cannot read the labels: `incompatible` by what they are, `dataset_too_small`."""
    found = dataset.get("label_form", "class")
    if found != facts_of(task).label_form:
        fitting = [kind for kind, facts in TASK_FACTS.items() if facts.label_form == found]
        wanted = LABEL_WORDS[facts_of(task).label_form]
        detail = (
            f"the labels of this dataset are {LABEL_WORDS[found]}, for {' or '.join(fitting)}; {task.kind} "
            f"reads {wanted}. `labels: {{form: ...}}` in dataset.yaml says how they are meant"
        )
        return [Problem("incompatible", detail, "/task/kind")]
    if found != "numbers" and len(dataset["classes"]) < 2:
        detail = f"training has {len(dataset['classes'])} classes; at least 2 are needed"
        return [Problem("dataset_too_small", detail, "/dataset")]
    return []


def pairing_problems(spec: AnyJobSpec) -> list[Problem]:
    """Where there are no means by class; and methods that train the teacher cannot be taught with them."""
    if not isinstance(spec, MethodJobSpec) or spec.pairing != "class":
        return []
    if not isinstance(spec.task, ClassificationSpec):
        detail = f"means of a class need one class a sample, which {spec.task.kind} does not have"
        return [Problem("incompatible", detail, "/pairing")]
    return [
        Problem(
            "incompatible",
            f"{method.name} trains the teacher on single samples, of which there are none by class",
            "/pairing",
        )
        for method in spec.methods_used
        if isinstance(method, DistillingSpec) and method.needs_teacher_inputs
    ][:1]
