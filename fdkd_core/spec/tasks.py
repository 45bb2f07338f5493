"""What a model learns to answer: a union tagged by `kind`, and what each kind measures.

What a task computes is in `fdkd_core.tasks`, whose table has the same keys.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from fdkd_core.spec.measures import MEASURES, Measure, MetricName
from fdkd_core.spec.strict import StrictModel

LabelForm = Literal["class", "classes", "numbers"]
"""What the label of a row is: one class, a set of classes, or one or several numbers."""

LABEL_WORDS: dict[LabelForm, str] = {
    "class": "one class a row",
    "classes": "sets of classes",
    "numbers": "numbers",
}


class ClassificationSpec(StrictModel):
    """One of C classes per sample; cross-entropy."""

    kind: Literal["classification"] = "classification"


class MultilabelSpec(StrictModel):
    """Any number of C classes per sample; binary cross-entropy of each class, added up over the classes.

    With the mean, each class would be learnt the more slowly the more there are (docs/decisions/0021).
    """

    kind: Literal["multilabel"] = "multilabel"
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Probability from which a class counts as predicted: in F1 and exact match, and in what a student
    answers. 0.5, the likelier of the two; mAP does not depend on it."""

    @property
    def least_logit(self) -> float:
        """The score at which a class has that probability."""
        return math.log(self.threshold / (1.0 - self.threshold))


class RegressionSpec(StrictModel):
    """One or several numbers per sample, learnt with mean 0 and variance 1 over the training rows.

    Figures and predictions are in the units of the data; the loss is on that scale, averaged over the
    numbers.
    """

    kind: Literal["regression"] = "regression"
    loss: Literal["mse", "huber"] = "mse"
    """`mse`, half the squared error, estimates the mean; `huber` (1964) grows linearly from `huber_delta` on,
    so that a few wild labels pull less. Not measured."""
    huber_delta: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    """In standard deviations of the training labels: 1, the default of most libraries. Only of `huber`."""


TaskKind = Literal["classification", "multilabel", "regression"]


def _tagged(value: object) -> object:
    """A task without a kind is a classification, as it was when there was no other."""
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "classification", **value}
    return value


TaskSpec = Annotated[
    ClassificationSpec | MultilabelSpec | RegressionSpec,
    Field(discriminator="kind"),
    BeforeValidator(_tagged),
]


class TaskFacts(NamedTuple):
    """What is known of a kind of task without computing anything."""

    label_form: LabelForm
    """Of the labels that it reads."""
    metrics: tuple[MetricName, ...]
    """What it measures beside its loss, in the order in which it is shown. The first is what most people ask
    for: it picks the weights and is what a gate compares, unless the spec names another; and what int8 may
    lose some of."""
    no_int8: str | None = None
    """Why eight-bit weights are not tried for it, for people: "not tried, because ...". Null where they are:
    whatever has figures of a network's answers to single samples can judge them."""
    no_recorded: str | None = None
    """Why a teacher cannot be columns of outputs, one vector for each row; null where it can."""

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
    "multilabel": TaskFacts("classes", ("mean_ap", "macro_f1", "micro_f1", "exact_match")),
    "regression": TaskFacts("numbers", ("r2", "mae", "rmse")),
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
