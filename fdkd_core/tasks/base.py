"""What a task is: how answers are scored against labels, in training and in figures.

Shape legend: B samples of a batch, N of a split, C numbers that a network answers with.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.models.base import Backbone
from fdkd_core.spec.figures import SplitMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import TASK_FACTS, TaskFacts, TaskKind
from fdkd_core.tasks.blind import Blind


class Task:
    """Base of every task. Labels are rows of `PairedDataset.labels`, whose form its facts state."""

    kind: ClassVar[TaskKind]
    rows_together: int = 1
    """Training rows of one label that come together in a batch, for losses on pairs of them; 1: at random."""

    @property
    def facts(self) -> TaskFacts:
        """What it reads and measures."""
        return TASK_FACTS[self.kind]

    def loss(self, outputs_BC: Float[Tensor, "b c"], labels: Tensor) -> Float[Tensor, " b"]:
        """The loss that a model is trained by, per sample."""
        raise NotImplementedError

    def answered(self, outputs_BC: Float[Tensor, "b c"]) -> NDArray[Any]:
        """What a teacher's outputs come to as labels, for rows that have none of their own."""
        raise NotImplementedError

    def answers(self, outputs_BC: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[Any]:
        """What is kept of a model's answers to some rows of a split: the answers, unless they are too large.

        `metrics` and `shares` take what this gives of all rows.
        """
        return outputs_BC

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[Any]) -> SplitMetrics:
        """All figures of a split.

        Raises:
            FloatingPointError: An answer is infinite or not a number.
        """
        raise NotImplementedError

    def shares(
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[Any]
    ) -> NDArray[np.float64]:
        """What each sample adds to a figure, turned so that larger is better, up to a constant.

        Their standard deviation over sqrt(N) is the standard error of the figure; differences of two models'
        shares on the same samples give that of the difference.

        Args:
            metric: One of the task's figures, or `loss`.
            outputs_NC: A model's answers.
            labels: Of the same samples.
        """
        raise NotImplementedError

    def chance(self, metric: MetricName, fitted: NDArray[Any], labels: NDArray[Any]) -> Blind:
        """A figure of who looks at no sample, and answers as well as can be then.

        Args:
            metric: One of the task's figures.
            fitted: Labels that may be learned from.
            labels: Of the rows that are answered.
        """
        raise NotImplementedError

    def alike(self, labels: NDArray[Any]) -> NDArray[np.int64] | None:
        """Number of what makes rows of a split succeed or fail together, where the data name no groups.

        Args:
            labels: Of the split's rows.

        Returns:
            Shape [N]; None where rows are independent.
        """
        return None

    def in_own_units(self, model: Backbone) -> Backbone:
        """What leaves a job: the network itself, unless its answers are on a scale of the job's own."""
        return model

    def on_own_scale(self, outputs_NC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers of a network that `in_own_units` gave, on the scale of labels and `metrics`."""
        return outputs_NC

    def standardised(self, model: Backbone) -> Backbone:
        """A network that comes to a job, brought to the job's scale: the way back from `in_own_units`."""
        return model


def refuse_not_finite(outputs_NC: NDArray[np.floating[Any]]) -> None:
    """Raises FloatingPointError unless all answers are finite."""
    if not np.isfinite(outputs_NC).all():
        raise FloatingPointError("the scores of a model are not finite")
