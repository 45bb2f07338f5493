"""Whether the labels of a dataset, and what is shown of a teacher, suit the task and the method of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fdkd_core.count_words import count
from fdkd_core.description_file import WHERE
from fdkd_core.errors import Problem
from fdkd_core.spec.job import DistillSpec, MethodJobSpec
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import DistillingSpec, NoneSpec
from fdkd_core.spec.study import StudySpec
from fdkd_core.spec.tasks import (
    LABEL_WORDS,
    TASK_FACTS,
    RetrievalSpec,
    TaskSpec,
    facts_of,
    has_one_label,
)

Report = Mapping[str, Any]
CHANGED_OUTPUTS = ("shuffled_pairs", "permuted_channels")
"""Views of a teacher that are its own outputs, changed. An untrained one is a network, which can be run."""


def output_names(task: TaskSpec, dataset: Report) -> list[str]:
    """Names of the numbers that a network answers with: classes, targets, or those of an embedding."""
    if isinstance(task, RetrievalSpec) and task.output_names is not None:
        return task.output_names
    return [*dataset["classes"], *(target["name"] for target in dataset.get("targets", ()))]


def label_problems(task: TaskSpec, dataset: Report) -> list[Problem]:
    """Why a task cannot read the labels: `incompatible` by what they are, `dataset_too_small`."""
    found = dataset.get("label_form", "class")
    if found not in facts_of(task).label_forms:
        fitting = [kind for kind, facts in TASK_FACTS.items() if found in facts.label_forms]
        wanted = LABEL_WORDS[facts_of(task).label_form]
        detail = (
            f"the labels of this dataset are {LABEL_WORDS[found]}, for {' or '.join(fitting)}; {task.kind} "
            f"reads {wanted}. How they are meant is said by `labels: {{form: ...}}` in {WHERE}"
        )
        return [Problem("incompatible", detail, "/task/kind")]
    if found != "numbers" and len(dataset["classes"]) < 2:
        detail = f"training has {count(len(dataset['classes']), 'class', 'classes')}; at least 2 are needed"
        return [Problem("dataset_too_small", detail, "/dataset")]
    is_by_label = isinstance(task, RetrievalSpec) and has_one_label(task)
    return _lonely_problems(dataset) if is_by_label else []


def _lonely_problems(dataset: Report) -> list[Problem]:
    """Where no row could be found by another of its label."""
    lonely = [
        split
        for split, facts in dataset["splits"].items()
        if split != "unlabelled" and max(facts["classes"].values(), default=0) < 2
    ]
    detail = (
        f"no two rows of {' and '.join(lonely)} share a label, so that none could be found by another; where "
        "validation is cut, labels of the form `identity` (dataset.yaml) move as a whole"
    )
    return [Problem("dataset_too_small", detail, "/dataset")] if lonely else []


def weighting_problems(spec: AnyJobSpec) -> list[Problem]:
    """How sure a teacher is of a row is not told where the loss of a row is about other rows."""
    if not isinstance(spec, DistillSpec) or spec.teacher_weighting != "confidence":
        return []
    if len(spec.teachers) < 2:
        detail = "found one teacher, and a row's weights are shared among several: see `more_teachers`"
        return [Problem("incompatible", detail, "/teacher_weighting")]
    if not isinstance(spec.task, RetrievalSpec):
        return []
    detail = (
        "confidence is told from the loss of a single row; that of retrieval is about all rows of a batch"
    )
    return [Problem("incompatible", detail, "/teacher_weighting")]


def pairing_problems(spec: AnyJobSpec) -> list[Problem]:
    """Where nobody is taught, there are no means by class, or a method trains the teacher on single rows."""
    if isinstance(spec, DistillSpec) and isinstance(spec.method, NoneSpec):
        stated = {"/pairing": spec.pairing != "instance", "/paired_fraction": spec.paired_fraction != 1.0}
        detail = "says what a row is taught with, and the method `none` teaches nothing: leave it out"
        return [
            Problem("incompatible", detail, pointer) for pointer, is_stated in stated.items() if is_stated
        ]
    if not isinstance(spec, MethodJobSpec) or spec.pairing != "class":
        return []
    if not has_one_label(spec.task):
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


def view_problems(spec: AnyJobSpec) -> list[Problem]:
    """Changed outputs of a teacher that a method cannot be shown, or would not see to be changed."""
    if not isinstance(spec, StudySpec) or spec.teacher_view == "paired":
        return []
    method, view = spec.method, spec.teacher_view
    if not isinstance(method, DistillingSpec):
        detail = f"without a teacher there is none to be shown as {view}"
        return [Problem("incompatible", detail, "/teacher_view")]
    if view not in CHANGED_OUTPUTS:
        return []
    if method.needs_teacher_inputs:
        detail = f"{method.name} runs the teacher itself: it cannot be shown {view}"
    elif view == "permuted_channels" and not method.knows_channel_order:
        detail = f"to {method.name} another order of the teacher's channels is the same teacher"
    else:
        return []
    return [Problem("incompatible", detail, "/teacher_view")]
