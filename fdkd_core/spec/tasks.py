"""What a model learns to answer: a union tagged by `kind`, and what each kind measures.

What a task computes is in `fdkd_core.tasks`, whose table has the same keys.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from fdkd_core.spec.measures import MEASURES, Measure, MetricName
from fdkd_core.spec.strict import StrictModel

LabelForm = Literal["class", "classes", "numbers"]
"""What the label of a row is: one class, a set of classes, or one or several numbers."""


class ClassificationSpec(StrictModel):
    """One of C classes per sample; cross-entropy."""

    kind: Literal["classification"] = "classification"


TaskSpec = ClassificationSpec
TaskKind = Literal["classification"]


class TaskFacts(NamedTuple):
    """What is known of a kind of task without computing anything."""

    label_form: LabelForm
    """Of the labels that it reads."""
    metrics: tuple[MetricName, ...]
    """What it measures beside its loss, in the order in which it is shown. The first is what most people ask
    for: it picks the weights and is what a gate compares, unless the spec names another."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The same with what is known of each."""
        return tuple(MEASURES[name] for name in self.metrics)

    @property
    def main(self) -> Measure:
        """The first of them."""
        return MEASURES[self.metrics[0]]


TASK_FACTS: dict[TaskKind, TaskFacts] = {
    "classification": TaskFacts("class", ("accuracy", "macro_f1")),
}


def facts_of(task: TaskSpec) -> TaskFacts:
    """The facts on the task of a spec."""
    return TASK_FACTS[task.kind]


def facts_of_figures(figures: Any) -> TaskFacts:
    """The facts on the task whose figures these are, by the fields that they have.

    Args:
        figures: `SplitMetrics`, or what a client made of them.
    """
    for facts in TASK_FACTS.values():
        if all(getattr(figures, name, None) is not None for name in facts.metrics):
            return facts
    return TASK_FACTS["classification"]
