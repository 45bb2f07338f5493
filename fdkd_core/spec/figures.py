"""Figures that results of several kinds are made of."""

from __future__ import annotations

from typing import Any

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


SplitMetrics = ClassificationMetrics
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


class Estimate(StrictModel):
    """A mean over seeds with its 95 % interval (Student's t); equal to the mean for a single seed."""

    mean: float
    low: float
    high: float
