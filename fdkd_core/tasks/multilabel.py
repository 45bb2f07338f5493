"""Any number of C classes per sample.

Shape legend: B samples of a batch, N of a split, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.losses.binary import binary_cross_entropy
from fdkd_core.spec.figures import MultilabelMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import MultilabelSpec, TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite
from fdkd_core.tasks.blind import Blind, best_of_constants


class Multilabel(Task):
    """Binary cross-entropy of each class.

    Args:
        spec: Which probability counts as a yes.
    """

    kind: ClassVar[TaskKind] = "multilabel"

    def __init__(self, spec: MultilabelSpec) -> None:
        self._least_logit = spec.least_logit

    def loss(self, outputs_BC: Float[Tensor, "b c"], labels: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
        """Sum over classes of the binary cross-entropy, shape [B]."""
        return binary_cross_entropy(outputs_BC, labels)

    def answered(self, outputs_BC: Float[Tensor, "b c"]) -> NDArray[np.float32]:
        """The classes that are likelier than not."""
        found: NDArray[np.float32] = (outputs_BC > 0.0).float().numpy()
        return found

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[np.float32]) -> MultilabelMetrics:
        """mAP, macro-F1, micro-F1, exact match and mean loss of a split."""
        refuse_not_finite(outputs_NC)
        predicted_NC, actual_NC = self._predicted(outputs_NC), labels > 0.5
        hits_C, total_C = _counts(predicted_NC, actual_NC)
        occurs_C = total_C > 0
        precisions = [
            average_precision(scores_N, actual_N)
            for scores_N, actual_N in zip(outputs_NC.T, actual_NC.T, strict=True)
            if actual_N.any()
        ]
        return MultilabelMetrics(
            mean_ap=float(np.mean(precisions)) if precisions else 0.0,
            macro_f1=float((2 * hits_C[occurs_C] / total_C[occurs_C]).mean()) if occurs_C.any() else 0.0,
            micro_f1=float(2 * hits_C.sum() / total_C.sum()) if occurs_C.any() else 0.0,
            exact_match=float((predicted_NC == actual_NC).all(axis=1).mean()),
            loss=float(_losses(outputs_NC, labels).mean()),
            num_samples=len(labels),
        )

    def shares(
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Exact hits; influences on the other figures (the infinitesimal jackknife); losses, negative."""
        predicted_NC, actual_NC = self._predicted(outputs_NC), labels > 0.5
        if metric == "exact_match":
            found_N: NDArray[np.float64] = (predicted_NC == actual_NC).all(axis=1).astype(np.float64)
            return found_N
        if metric == "mean_ap":
            present = np.flatnonzero(actual_NC.any(axis=0))
            influences = [precision_influence(outputs_NC[:, c], actual_NC[:, c]) for c in present]
            return np.mean(influences, axis=0) if influences else np.zeros(len(labels))
        if metric in ("macro_f1", "micro_f1"):
            return _f1_influence(predicted_NC, actual_NC, is_macro=metric == "macro_f1")
        return -_losses(outputs_NC, labels)

    def chance(self, metric: MetricName, fitted: NDArray[np.float32], labels: NDArray[np.float32]) -> Blind:
        """The share of each class, which mAP and exact match take; all classes, which F1 does; a set."""
        rate_C = np.clip(fitted.mean(axis=0), 1e-6, 1.0 - 1e-6)
        sets_SC, count_S = np.unique(fitted > 0.5, axis=0, return_counts=True)
        answers = (
            np.log(rate_C / (1.0 - rate_C)),
            np.full(len(rate_C), 20.0),
            np.where(sets_SC[count_S.argmax()], 20.0, -20.0),
        )
        tiled = [np.tile(answer.astype(np.float32), (len(labels), 1)) for answer in answers]
        return best_of_constants(self, metric, tiled, labels)

    def _predicted(self, outputs_NC: NDArray[np.float32]) -> NDArray[np.bool_]:
        found_NC: NDArray[np.bool_] = outputs_NC >= self._least_logit
        return found_NC


def average_precision(scores_N: NDArray[np.floating], actual_N: NDArray[np.bool_]) -> float:
    """Mean over the samples that have the class of the precision at their own score.

    The precision at a score is the share that has the class among all samples that score at least as high.

    Args:
        scores_N: Of the class.
        actual_N: Which samples have it; at least one.
    """
    precision_N, _ = _precisions(scores_N, actual_N)
    return float(precision_N[actual_N].mean())


def precision_influence(scores_N: NDArray[np.floating], actual_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By how much each sample moves average precision, times N: the derivative by its share of the split.

    With weights w, AP = sum_i w_i y_i A_i / B_i / sum_i w_i y_i, where A_i and B_i add up the weights of
    those that score at least as high, of the class and of all. Its derivative by w_k, at equal weights, is
    what is computed.

    Returns:
        Shape [N], with mean 0.
    """
    precision_N, above_N = _precisions(scores_N, actual_N)
    positives = int(actual_N.sum())
    found = actual_N * (precision_N - precision_N[actual_N].mean())
    # A sample also changes the precision at every score that is not above its own.
    order = np.argsort(scores_N, kind="stable")
    last = np.searchsorted(scores_N[order], scores_N, side="right") - 1
    per_positive = np.cumsum((actual_N / above_N)[order])[last]
    per_sample = np.cumsum((actual_N * precision_N / above_N)[order])[last]
    influence: NDArray[np.float64] = (
        (found + actual_N * per_positive - per_sample) * len(scores_N) / positives
    )
    return influence


def _precisions(
    scores_N: NDArray[np.floating], actual_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The precision at each sample's score, and how many samples score at least as high."""
    order = np.argsort(-scores_N, kind="stable")
    descending = -scores_N[order]
    above_N = np.searchsorted(descending, -scores_N, side="right")
    hits = np.cumsum(actual_N[order])
    return hits[above_N - 1] / above_N, above_N


def _counts(
    predicted_NC: NDArray[np.bool_], actual_NC: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """TP, and 2 TP + FP + FN, of each class: predicted + actual counts each hit twice."""
    return (predicted_NC & actual_NC).sum(axis=0), predicted_NC.sum(axis=0) + actual_NC.sum(axis=0)


def _f1_influence(
    predicted_NC: NDArray[np.bool_], actual_NC: NDArray[np.bool_], *, is_macro: bool
) -> NDArray[np.float64]:
    """As `classification.macro_f1_influence`: F1 = 2 TP / total, so dF1 = (2 dTP - F1 dtotal) / total."""
    hits_C, total_C = _counts(predicted_NC, actual_NC)
    occurs_C = total_C > 0
    if not occurs_C.any():
        return np.zeros(len(predicted_NC))
    hits_NC = (predicted_NC & actual_NC)[:, occurs_C].astype(np.float64)
    seen_NC = (predicted_NC.astype(np.int64) + actual_NC)[:, occurs_C]
    hits_C, total_C = hits_C[occurs_C], total_C[occurs_C]
    influence: NDArray[np.float64]
    if is_macro:
        influence = ((2 * hits_NC - 2 * hits_C / total_C * seen_NC) / total_C).mean(axis=1)
    else:
        f1 = 2 * hits_C.sum() / total_C.sum()
        influence = (2 * hits_NC.sum(axis=1) - f1 * seen_NC.sum(axis=1)) / total_C.sum()
    return influence * len(predicted_NC)


def _losses(outputs_NC: NDArray[np.float32], labels_NC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Binary cross-entropy of each sample, in float64: log(1 + exp(z)) - y z."""
    exact_NC = outputs_NC.astype(np.float64)
    found_N: NDArray[np.float64] = (np.logaddexp(0.0, exact_NC) - labels_NC * exact_NC).sum(axis=1)
    return found_N
