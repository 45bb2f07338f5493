"""Figures that results of several kinds are made of."""

from __future__ import annotations

from typing import Any

from fdkd_core.spec.execution import ExecutionReport
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.strict import StrictModel


class ClassificationMetrics(StrictModel):
    """Figures of one classifier on one split."""

    accuracy: float
    """Share of right predictions, 0..1."""
    macro_f1: float
    """Mean over classes of F1, 0..1; equal to accuracy in spirit, but fair to rare classes."""
    loss: float
    """Mean cross-entropy, in nats."""
    num_samples: int


class MultilabelMetrics(StrictModel):
    """Figures of one model of class sets on one split."""

    mean_ap: float
    """Mean over classes of average precision, 0..1; of the classes that some sample of the split has."""
    macro_f1: float
    """Mean over classes of F1, 0..1; of the classes that occur among labels or predictions."""
    micro_f1: float
    """F1 of all decisions taken together, 0..1: common classes count for more."""
    exact_match: float
    """Share of samples whose set of classes is right as a whole, 0..1."""
    loss: float
    """Binary cross-entropy of all classes together, mean over samples, in nats."""
    num_samples: int


class RegressionMetrics(StrictModel):
    """Figures of one model of numbers on one split. Of several numbers, each figure is the mean over them."""

    r2: float
    """Coefficient of determination: 1 is perfect, 0 is as good as the split's own mean. 0 of a number that is
    the same in the whole split. It has no unit, so that no number outweighs another."""
    mae: float
    """Mean absolute error, in the unit of the label: of several numbers, a mean over their units."""
    rmse: float
    """Root of the mean squared error, in the unit of the label, as `mae`."""
    loss: float
    """What was trained: mean over samples and numbers, in standard deviations of the training labels."""
    num_samples: int


class RetrievalMetrics(StrictModel):
    """Figures of one model of embeddings on one split, whose rows ask.

    What is wrong and as near as the nearest right answer, but for rounding, counts as nearer: a network that
    gives all rows one embedding finds none of its label.
    """

    recall_at_1: float
    """Share of the queries whose nearest answer is right, 0..1: a row of their label, or their vector."""
    recall_at_5: float
    """Share with a right one among the five nearest."""
    recall_at_10: float
    """Share with a right one among the ten nearest."""
    mean_reciprocal_rank: float
    """Mean over the queries of 1 / rank of the nearest right answer, 0..1."""
    loss: float
    """Contrastive loss against the whole split, mean over the queries, in nats. It grows with the logarithm
    of the split's rows, and so is above what training shows of its batches."""
    num_queries: int
    """Rows that have a right answer: with labels, those of which the split has another of the label."""
    num_samples: int


class SegmentationMetrics(StrictModel):
    """Figures of one model of masks on one split, over all of its pixels that have a label."""

    mean_iou: float
    """Mean over classes of intersection over union, 0..1; of the classes that occur among labels or
    predictions. Of the split as a whole, as usual: not a mean over samples."""
    mean_pixel_accuracy: float
    """Mean over classes of the share of their pixels that was found, 0..1; of the classes that have some."""
    pixel_accuracy: float
    """Share of right pixels, 0..1: the background counts as much as it covers."""
    loss: float
    """Cross-entropy, mean over the pixels of a sample and then over samples, in nats."""
    num_samples: int


SplitMetrics = (
    ClassificationMetrics | MultilabelMetrics | RegressionMetrics | RetrievalMetrics | SegmentationMetrics
)
"""Figures of one model on one split, by the task; `fdkd_core.spec.tasks.TASK_FACTS` lists their names."""


def figure(found: Any, name: str) -> float:
    """One of the figures of a split, by name."""
    return float(getattr(found, name))


def signed_figure(found: Any, name: str) -> float:
    """The same, turned so that larger is better."""
    return MEASURES[name].signed(figure(found, name))


class FinalRun(StrictModel):
    """One training with the tuned parameters and a fresh seed."""

    seed: int
    val: SplitMetrics
    test: SplitMetrics
    seconds: float
    epochs: int
    best_epoch: int
    execution: ExecutionReport | None = None
    """See `ModelResult.execution`."""


class Estimate(StrictModel):
    """A mean over seeds with its 95 % interval (Student's t); equal to the mean for a single seed."""

    mean: float
    low: float
    high: float
