"""Figures that results of several kinds are made of."""

from __future__ import annotations

from fdkd_core.spec.strict import StrictModel


class SplitMetrics(StrictModel):
    """Figures of one model on one split."""

    accuracy: float
    """Share of right predictions, 0..1."""
    macro_f1: float
    """Mean over classes of F1, 0..1; equal to accuracy in spirit, but fair to rare classes."""
    loss: float
    """Mean cross-entropy, in nats."""
    num_samples: int


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
