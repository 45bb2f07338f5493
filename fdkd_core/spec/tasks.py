"""What a model learns to answer: a union tagged by `kind`, and what each kind measures.

What a task computes is in `fdkd_core.tasks`, whose table has the same keys.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from fdkd_core.spec.measures import MEASURES, Measure, MetricName
from fdkd_core.spec.strict import StrictModel

LabelForm = Literal["class", "classes", "numbers", "identity", "mask"]
"""What the label of a row is: one class, a set of classes, one or several numbers, an identity, which is a
class that validation and test may have and training lack, or a class for each pixel."""

LABEL_WORDS: dict[LabelForm, str] = {
    "class": "one class a row",
    "classes": "sets of classes",
    "numbers": "numbers",
    "identity": "identities, which training may lack",
    "mask": "masks",
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


EMBEDDING_DIM = 128
"""Of a retrieval that states none."""


class RetrievalSpec(StrictModel):
    """An embedding per sample, by which it finds samples of its label, or a vector that belongs to it.

    Learnt by a contrastive loss and measured within a split (docs/decisions/0025): each row asks, and what is
    there answers, the most similar first. Similarity is the cosine.
    """

    kind: Literal["retrieval"] = "retrieval"
    relevant: Literal["label", "pair"] = "label"
    """What is right to find. `label`: the other rows of the same label, which is a class or an identity; the
    loss is that of Khosla et al. (NeurIPS 2020, eq. 2). `pair`: labels are vectors, such as another model's
    embeddings of what each row is paired with; a row finds its own among those of all rows, and the loss is
    InfoNCE (van den Oord et al. 2018, eq. 4). By label, which needs nothing but labels."""
    embedding_dim: Annotated[int, Field(ge=2, le=4096)] | None = None
    """Numbers that a network answers with. Null: 128, the width of the projection head of Khosla et al., 512
    bytes a row in an index of float32. With `pair` it is that of the vectors, and null."""
    temperature: Annotated[float, Field(ge=0.01, le=10.0)] = 0.2
    """Of the cosines: the smaller, the more the nearest wrong rows count, and the steeper the loss. Khosla et
    al. have 0.1, with which narrow embeddings collapsed at the default learning rate; with 0.2 they did not,
    and those of 128 numbers were as good (docs/decisions/0025)."""
    rows_per_label: Annotated[int, Field(ge=1, le=1024)] = 4
    """How many training rows of a label come together in a batch, where it has as many; each row still comes
    once an epoch. With rows drawn at random, batches of many labels hold hardly two of one, and nothing is
    learnt from a row without another of its label. 4, as in Musgrave et al. (ECCV 2020). 1 draws at random.
    Only of `label`."""

    @field_validator("embedding_dim")
    @classmethod
    def _is_not_that_of_vectors(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("relevant") == "pair":
            message = "is that of the vectors that are to be found; leave it out"
            raise PydanticCustomError("conflicting_fields", message, {})
        return value

    @property
    def output_names(self) -> list[str] | None:
        """Of the numbers, which mean nothing one by one; None where they are those of the labels."""
        if self.relevant == "pair":
            return None
        return [f"e{index}" for index in range(1, (self.embedding_dim or EMBEDDING_DIM) + 1)]


VOID = 255
"""Value of a mask's pixels that have no label: not learnt, not counted. As in Pascal VOC and Cityscapes."""


class SegmentationSpec(StrictModel):
    """One of C classes per pixel; cross-entropy over the pixels of a sample that have a label.

    Labels are masks: single-channel pictures of class indexes, 255 where there is none. Teacher and student
    see images or depth maps of the same scene, each whole, whatever their sizes. Networks must answer by
    pixel: `conv2d_fpn`, `segformer`, `mobilenet_v2_deeplab`.
    """

    kind: Literal["segmentation"] = "segmentation"


TaskKind = Literal["classification", "multilabel", "regression", "retrieval", "segmentation"]


def _tagged(value: object) -> object:
    """A task without a kind is a classification, as it was when there was no other."""
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "classification", **value}
    return value


TaskSpec = Annotated[
    ClassificationSpec | MultilabelSpec | RegressionSpec | RetrievalSpec | SegmentationSpec,
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
    chance: str
    """Who looks at no sample, and is what a model has to beat: `always saying the most frequent class`."""
    also_reads: tuple[LabelForm, ...] = ()
    """Other forms of labels that it can be learnt from."""
    no_int8: str | None = None
    """Why eight-bit weights are not tried for it, for people: "not tried, because ...". Null where they are:
    whatever has figures of a network's answers to single samples can judge them."""
    no_recorded: str | None = None
    """Why a teacher cannot be columns of outputs; null where it can."""

    @property
    def label_forms(self) -> tuple[LabelForm, ...]:
        """All forms of labels that it can be learnt from."""
        return (self.label_form, *self.also_reads)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The same with what is known of each."""
        return tuple(MEASURES[name] for name in self.metrics)

    @property
    def main(self) -> Measure:
        """The first of them."""
        return MEASURES[self.metrics[0]]


TASK_FACTS: dict[TaskKind, TaskFacts] = {
    "classification": TaskFacts(
        "class",
        ("accuracy", "macro_f1"),
        "always saying the most frequent class, or drawing one as often as it occurs",
    ),
    "multilabel": TaskFacts(
        "classes",
        ("mean_ap", "macro_f1", "micro_f1", "exact_match"),
        "always saying how frequent each class is, or all classes, or the most frequent set",
    ),
    "regression": TaskFacts("numbers", ("r2", "mae", "rmse"), "always saying the mean or the median"),
    "retrieval": TaskFacts(
        "identity",
        ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank"),
        "answering in random order",
        ("class",),
        no_recorded="recorded embeddings are better learnt as labels, with `relevant: pair`",
    ),
    "segmentation": TaskFacts(
        "mask",
        ("mean_iou", "mean_pixel_accuracy", "pixel_accuracy"),
        "always saying the class with most pixels",
    ),
}


def facts_of(task: TaskSpec) -> TaskFacts:
    """The facts on the task of a spec."""
    facts = TASK_FACTS[task.kind]
    if isinstance(task, RetrievalSpec) and task.relevant == "pair":
        return facts._replace(label_form="numbers", also_reads=())
    return facts


def has_one_label(task: TaskSpec) -> bool:
    """Whether a row has one label, by which it belongs with other rows."""
    return isinstance(task, ClassificationSpec) or (
        isinstance(task, RetrievalSpec) and task.relevant == "label"
    )


def facts_of_figures(figures: Any) -> TaskFacts:
    """The facts on the task whose figures these are, by the fields that they have.

    Args:
        figures: `SplitMetrics`, or what a client made of them.
    """
    for facts in TASK_FACTS.values():
        if all(getattr(figures, name, None) is not None for name in facts.metrics):
            return facts
    return TASK_FACTS["classification"]
