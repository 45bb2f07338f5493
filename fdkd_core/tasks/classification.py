"""One of C classes per sample."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.losses.logits import cross_entropy
from fdkd_core.spec.figures import ClassificationMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite
from fdkd_core.tasks.blind import Blind, best_of_constants


class Classification(Task):
    """Cross-entropy; the class with the highest score is the answer."""

    kind: ClassVar[TaskKind] = "classification"

    def loss(self, outputs_BC: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Cross-entropy per sample, shape [B]."""
        return cross_entropy(outputs_BC, labels)

    def answered(self, outputs_BC: Float[Tensor, "b c"]) -> NDArray[np.int64]:
        """The class of the largest logit."""
        found: NDArray[np.int64] = outputs_BC.argmax(dim=1).numpy()
        return found

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[np.int64]) -> ClassificationMetrics:
        """Accuracy, macro-F1 and mean cross-entropy of a split."""
        return split_metrics(outputs_NC, labels)

    def shares(
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Hits; influences on macro-F1; log-probabilities of the labels."""
        if metric == "accuracy":
            hits_N: NDArray[np.float64] = (outputs_NC.argmax(axis=1) == labels).astype(np.float64)
            return hits_N
        if metric == "macro_f1":
            return macro_f1_influence(outputs_NC.argmax(axis=1), labels)
        return _log_probabilities(outputs_NC, labels)

    def chance(self, metric: MetricName, fitted: NDArray[np.int64], labels: NDArray[np.int64]) -> Blind:
        """The most frequent class, or one drawn as often as it occurs, where that is better.

        By accuracy it is where the class that is most frequent in training is rare among the rows.
        """
        size = 1 + int(max(fitted.max(), labels.max()))
        count_C = np.bincount(fitted, minlength=size)
        answer_C = (np.arange(size) == count_C.argmax()).astype(np.float32)
        found = best_of_constants(self, metric, [np.tile(answer_C, (len(labels), 1))], labels)
        if metric not in ("accuracy", "macro_f1"):
            return found
        drawn_C, actual_C = count_C / len(fitted), np.bincount(labels, minlength=size) / len(labels)
        if metric == "accuracy":
            hits = float((drawn_C * actual_C).sum())
            return max(found, Blind(hits, np.zeros(len(labels))), key=lambda blind: blind.value)
        occurs_C = drawn_C + actual_C > 0.0
        # F1 = 2 TP / (predicted + actual), of which the first is, in the mean over draws, 2 N drawn actual.
        f1_C = 2.0 * (drawn_C * actual_C)[occurs_C] / (drawn_C + actual_C)[occurs_C]
        drawn = Blind(float(f1_C.mean()), np.zeros(len(labels)))
        return max(found, drawn, key=lambda blind: blind.value)


def split_metrics(logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> ClassificationMetrics:
    """Accuracy, macro-F1 and mean cross-entropy of a split.

    Args:
        logits_NC: Scores of all samples.
        labels_N: Class indexes.

    Raises:
        FloatingPointError: A score is infinite or not a number.
    """
    refuse_not_finite(logits_NC)
    predicted_N = logits_NC.argmax(axis=1)
    return ClassificationMetrics(
        accuracy=float((predicted_N == labels_N).mean()),
        macro_f1=macro_f1(predicted_N, labels_N),
        loss=float(-_log_probabilities(logits_NC, labels_N).mean()),
        num_samples=len(labels_N),
    )


def _log_probabilities(logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the labels, in float64."""
    exact_NC = logits_NC.astype(np.float64)
    exact_NC -= exact_NC.max(axis=1, keepdims=True)
    found_N: NDArray[np.float64] = exact_NC[np.arange(len(labels_N)), labels_N] - np.log(
        np.exp(exact_NC).sum(axis=1)
    )
    return found_N


def macro_f1(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64]) -> float:
    """Mean of the classes' F1 over the classes that occur among labels or predictions."""
    scores = []
    for index in np.union1d(predicted_N, labels_N):
        hits = int(((predicted_N == index) & (labels_N == index)).sum())
        # 2 TP / (2 TP + FP + FN): predicted + actual counts each hit twice.
        scores.append(2 * hits / int((predicted_N == index).sum() + (labels_N == index).sum()))
    return float(np.mean(scores))


def macro_f1_influence(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much each sample moves macro-F1, times N: the derivative by its share of the split.

    Their standard deviation over sqrt(N) is the standard error of macro-F1 (the infinitesimal jackknife,
    Efron 1982); differences of two models' influences on the same samples give that of the difference.

    Returns:
        Shape [N], with mean 0.
    """
    classes = np.union1d(predicted_N, labels_N)
    predicted, actual = np.searchsorted(classes, predicted_N), np.searchsorted(classes, labels_N)
    is_hit = predicted == actual
    total = np.bincount(predicted, minlength=len(classes)) + np.bincount(actual, minlength=len(classes))
    f1 = 2.0 * np.bincount(actual[is_hit], minlength=len(classes)) / total
    # F1 = 2 TP / total, so dF1 = (2 dTP - F1 dtotal) / total, in the classes of label and prediction.
    change = 2.0 * is_hit / total[actual] - (f1 / total)[actual] - (f1 / total)[predicted]
    influence: NDArray[np.float64] = change * len(labels_N) / len(classes)
    return influence
