"""What a model card says by task."""

from __future__ import annotations

from typing import NamedTuple

from fdkd_core.spec.tasks import TaskKind


class TaskWords(NamedTuple):
    """The sentences of one task."""

    answers: str
    """What the outputs are."""
    asked: str
    """What is asked of a prediction, in Python."""
    knows: str
    """What it cannot know."""
    uncertain: str
    """What its answers do not say."""
    graph: str = ""
    """A comment on the outputs of model.onnx."""
    are_named: bool = True
    """Whether the outputs have names that say something."""


TASK_WORDS: dict[TaskKind, TaskWords] = {
    "classification": TaskWords(
        "Classes",
        "prediction.label, prediction.probabilities",
        "It knows only the classes above and always answers with one of them, whatever it is given.",
        "Probabilities are the network's softmax; they were not calibrated.",
    ),
    "multilabel": TaskWords(
        "Classes",
        "prediction.labels, prediction.probabilities",
        "It knows only the classes above; where it names none of them, another one may well apply.",
        "Probabilities are the network's sigmoid, each class for itself; they were not calibrated.",
    ),
    "regression": TaskWords(
        "Numbers",
        "prediction.values",
        "It always answers with numbers, whatever it is given, and says nothing about their error.",
        "Beyond the range of the training labels its answers were never tested.",
        "  # `logits` are the numbers themselves",
    ),
    "retrieval": TaskWords(
        "Numbers of an embedding",
        "prediction.embedding",
        "It embeds whatever it is given, and the nearest neighbour may still be far: find out, on data of "
        "your own, from which cosine on two samples belong together.",
        "Embeddings of two models, or of two trainings of one, cannot be compared with each other.",
        "  # `logits` are the embedding before it is divided by its norm",
        are_named=False,
    ),
    "segmentation": TaskWords(
        "Classes",
        "prediction.mask, prediction.shares",
        "It knows only the classes above and gives one of them to every pixel, whatever it sees. Its mask "
        "has the size of its input: scale it back to the picture by nearest pixel.",
        "How sure it is of a pixel it does not say.",
        "  # `logits` are [1, classes, height, width]",
    ),
}
