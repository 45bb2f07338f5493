"""One of C classes per pixel.

What is kept of a model's answers is what its figures are made of, a row per sample: the maps themselves would
not fit into memory. Shape legend: B samples of a batch, N of a split, C classes, S = 3 C + 1.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.losses.pixels import pixel_cross_entropy, resized
from fdkd_core.spec.dense_cost import SCORES_AT_ONCE
from fdkd_core.spec.figures import SegmentationMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import VOID, TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite
from fdkd_core.tasks.blind import Blind, best_of_constants


class _Counts(NamedTuple):
    """Pixels with a label, by sample and class, float64 [N, C]; and the loss of each sample, [N]."""

    hits: NDArray[np.float64]
    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]
    loss: NDArray[np.float64]


class Segmentation(Task):
    """Cross-entropy of every pixel; the class with the highest score is its answer."""

    kind: ClassVar[TaskKind] = "segmentation"

    def loss(self, outputs_BC: Float[Tensor, "b c h w"], labels: Tensor) -> Float[Tensor, " b"]:
        """Mean over the labelled pixels of a sample, shape [B]. Labels are masks [B, H, W], with `VOID`."""
        return pixel_cross_entropy(outputs_BC, labels)

    def answers(self, outputs_BC: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[Any]:
        """Of each sample, by class, how many pixels were right, predicted and there; and its loss: [B, S].

        Pixels without a label count nowhere.

        Args:
            outputs_BC: Logits [B, C, h, w].
            labels: Masks [B, H, W].
        """
        per_sample = max(1, outputs_BC.shape[1] * labels[0].size)
        step = max(1, SCORES_AT_ONCE // per_sample)
        parts = [
            _summary(torch.from_numpy(outputs_BC[start : start + step]), labels[start : start + step])
            for start in range(0, len(labels), step)
        ]
        return np.concatenate(parts)

    def metrics(self, outputs_NC: NDArray[Any], labels: NDArray[np.uint8]) -> SegmentationMetrics:
        """mIoU, mean pixel accuracy, pixel accuracy, loss. Args: of a split, as `answers` gives them."""
        refuse_not_finite(outputs_NC)
        counts = _counts(outputs_NC)
        hits_C, predicted_C, actual_C = (part.sum(axis=0) for part in counts[:3])
        union_C = predicted_C + actual_C - hits_C
        return SegmentationMetrics(
            mean_iou=_mean_ratio(hits_C, union_C),
            mean_pixel_accuracy=_mean_ratio(hits_C, actual_C),
            pixel_accuracy=float(hits_C.sum() / max(actual_C.sum(), 1.0)),
            loss=float(counts.loss.mean()),
            num_samples=len(outputs_NC),
        )

    def shares(self, metric: str, outputs_NC: NDArray[Any], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Influences on ratios of sums (the infinitesimal jackknife); losses, negative.

        Args: as `answers` gives them.
        """
        counts = _counts(outputs_NC)
        hits, predicted, actual, loss = counts
        found_N: NDArray[np.float64]
        if metric == "mean_iou":
            found_N = _influence(hits, predicted + actual - hits)
        elif metric == "mean_pixel_accuracy":
            found_N = _influence(hits, actual)
        elif metric == "pixel_accuracy":
            found_N = _influence(hits.sum(axis=1, keepdims=True), actual.sum(axis=1, keepdims=True))
        else:
            found_N = -loss
        return found_N

    def chance(self, metric: MetricName, fitted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Blind:
        """Of who gives every pixel the class that most pixels have."""
        size = 1 + max(int(mask[mask != VOID].max(initial=0)) for masks in (fitted, labels) for mask in masks)
        actual_NC = pixel_counts(labels, size)
        is_answer_C = np.arange(size) == pixel_counts(fitted, size).sum(axis=0).argmax()
        predicted_NC = actual_NC.sum(axis=1, keepdims=True) * is_answer_C
        parts = [actual_NC * is_answer_C, predicted_NC, actual_NC, np.zeros((len(labels), 1))]
        return best_of_constants(self, metric, [np.concatenate(parts, axis=1)], labels)


def pixel_counts(masks: NDArray[np.uint8], num_classes: int) -> NDArray[np.float64]:
    """Pixels of each class in each mask [N, H, W], those without a label left out: [N, C]."""
    counts = [np.bincount(mask.ravel(), minlength=VOID + 1)[:num_classes] for mask in masks]
    return np.array(counts, dtype=np.float64).reshape(len(masks), num_classes)


def _summary(logits: Tensor, masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = masks.shape[1:]
    classes = logits.shape[1]
    enlarged = resized(logits.float(), (height, width))
    losses = pixel_cross_entropy(enlarged, torch.from_numpy(masks)).double().numpy()
    predicted = enlarged.argmax(dim=1).numpy()
    rows = []
    for guess, mask, loss in zip(predicted, masks, losses, strict=True):
        is_labelled = mask != VOID
        guess, mask = guess[is_labelled], mask[is_labelled]
        counted = (np.bincount(found, minlength=classes) for found in (mask[guess == mask], guess, mask))
        rows.append(np.concatenate([*counted, [loss]]).astype(np.float64))
    return np.stack(rows)


def _counts(outputs: NDArray[Any]) -> _Counts:
    hits, predicted, actual = np.split(outputs[:, :-1], 3, axis=1)
    return _Counts(hits, predicted, actual, outputs[:, -1])


def _mean_ratio(above_C: NDArray[np.float64], below_C: NDArray[np.float64]) -> float:
    """Mean over the classes that have something below; 0 where none has."""
    occurs = below_C > 0
    return float((above_C[occurs] / below_C[occurs]).mean()) if occurs.any() else 0.0


def _influence(above_NC: NDArray[np.float64], below_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much each sample moves the mean over classes of sum(above) / sum(below), times N.

    d(a / b) = (da - (a / b) db) / b.
    """
    occurs = below_NC.sum(axis=0) > 0
    if not occurs.any():
        return np.zeros(len(above_NC))
    above_NC, below_NC = above_NC[:, occurs], below_NC[:, occurs]
    ratio_C = above_NC.sum(axis=0) / below_NC.sum(axis=0)
    moved_NC = (above_NC - ratio_C * below_NC) / below_NC.sum(axis=0)
    moved_N: NDArray[np.float64] = len(above_NC) * moved_NC.mean(axis=1)
    return moved_N
