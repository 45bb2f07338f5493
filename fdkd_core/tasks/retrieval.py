"""An embedding per sample, by which it finds samples of its label, or a vector that belongs to it.

Within a split every row is a query; the gallery is all other rows, or the different vectors of all rows.
Shape legend: B samples of a batch, N of a split, E numbers of an embedding, Q rows of a block, K different
vectors.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.table import TargetScale
from fdkd_core.losses.embeddings import pair_contrast, supervised_contrast
from fdkd_core.spec.figures import RetrievalMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import RetrievalSpec, TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite
from fdkd_core.tasks.blind import Blind

TIE = 1e-6
"""Cosines that differ by less are equal: in float32 two equal embeddings may differ by as much, and the order
of rows that a network cannot tell apart must not pass for a find."""
_BLOCK_VALUES = 1 << 22
"""Similarities at a time: 16 MB, and some times that for what is made of them, however large the split."""
_DEPTHS = {"recall_at_1": 1, "recall_at_5": 5, "recall_at_10": 10}


class _Searches(NamedTuple):
    """What came of asking for every row of a split."""

    ranks: NDArray[np.int64]
    """Of the nearest right answer, from 1; 0 where the split has none."""
    losses: NDArray[np.float64]
    """Against the split, in nats; 0 there."""

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which rows count as queries."""
        found: NDArray[np.bool_] = self.ranks > 0
        return found


class Retrieval(Task):
    """Contrast of right and wrong; what has the largest cosine is the answer.

    Args:
        spec: What is right, the temperature, and how batches are drawn.
        scale: Of the labels that are vectors; None of others.
    """

    kind: ClassVar[TaskKind] = "retrieval"

    def __init__(self, spec: RetrievalSpec, scale: TargetScale | None = None) -> None:
        self._temperature = spec.temperature
        self._scale = scale
        if scale is None:
            self.rows_together = spec.rows_per_label

    def loss(self, outputs_BC: Float[Tensor, "b e"], labels: Tensor) -> Float[Tensor, " b"]:
        """Of each row against the others of the batch, shape [B]; 0 without another of its label."""
        if self._scale is not None:
            # Back from the scale of numbers that are learnt one by one: here their direction counts.
            std, mean = (torch.from_numpy(part).to(labels) for part in (self._scale.std, self._scale.mean))
            return pair_contrast(outputs_BC, labels * std + mean, temperature=self._temperature)
        return supervised_contrast(outputs_BC, labels, temperature=self._temperature)

    def alike(self, labels: NDArray[Any]) -> NDArray[np.int64] | None:
        """The label: what one query of it finds, the others mostly find too. None where all labels differ."""
        names, number_N = np.unique(labels, axis=0, return_inverse=True)
        return None if len(names) == len(labels) else number_N.reshape(-1).astype(np.int64)

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[Any]) -> RetrievalMetrics:
        """Recall at 1, 5 and 10, mean reciprocal rank and mean loss of a split; zeros without any query."""
        refuse_not_finite(outputs_NC)
        found = self._searched(outputs_NC, labels)
        asked_N = found.asked

        def mean(values_N: NDArray[Any]) -> float:
            return float(values_N[asked_N].mean()) if asked_N.any() else 0.0

        return RetrievalMetrics(
            recall_at_1=mean(found.ranks <= 1),
            recall_at_5=mean(found.ranks <= 5),
            recall_at_10=mean(found.ranks <= 10),
            mean_reciprocal_rank=mean(1.0 / np.maximum(found.ranks, 1)),
            loss=mean(found.losses),
            num_queries=int(asked_N.sum()),
            num_samples=len(labels),
        )

    def shares(
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[Any]
    ) -> NDArray[np.float64]:
        """What each query adds; 0 for rows that are none. The gallery is taken as given.

        So the noise is that of other queries to the same gallery, not of another gallery.
        """
        found = self._searched(outputs_NC, labels)
        value_N: NDArray[np.float64]
        if metric in _DEPTHS:
            value_N = (found.ranks <= _DEPTHS[metric]).astype(np.float64)
        elif metric == "mean_reciprocal_rank":
            value_N = 1.0 / np.maximum(found.ranks, 1)
        else:
            value_N = -found.losses
        asked_N = found.asked
        if not asked_N.any():
            return np.zeros(len(labels))
        # A figure is a mean over queries alone: its derivative by the weight of each row, times N.
        weight = len(labels) / int(asked_N.sum())
        shares_N: NDArray[np.float64] = np.where(asked_N, weight * (value_N - value_N[asked_N].mean()), 0.0)
        return shares_N

    def chance(self, metric: MetricName, fitted: NDArray[Any], labels: NDArray[Any]) -> Blind:
        """Of all orders of the answers, the mean."""
        _, count_K = np.unique(labels, axis=0, return_counts=True)
        if self._scale is not None:
            found = {1: (len(count_K), len(labels))}  # one right vector among the different ones
        else:
            queries = {int(n): int((count_K == n).sum() * n) for n in np.unique(count_K) if n > 1}
            found = {n - 1: (len(labels) - 1, rows) for n, rows in queries.items()}
        total = sum(rows for _, rows in found.values())
        values = [rows * _of_random_order(metric, right, size) for right, (size, rows) in found.items()]
        return Blind(sum(values) / total if total else 0.0, np.zeros(len(labels)))

    def _searched(self, outputs_NE: NDArray[np.float32], labels: NDArray[Any]) -> _Searches:
        """Asks for every row, a block of rows at a time."""
        unit_NE = gallery_NE = _of_norm_1(outputs_NE)
        answers_N = labels
        if self._scale is not None:
            vectors_KE, labels = np.unique(labels, axis=0, return_inverse=True)
            gallery_NE = _of_norm_1(self._scale.in_own_units(vectors_KE))
            labels, answers_N = labels.reshape(-1), np.arange(len(vectors_KE))
        rank_N, loss_N = np.zeros(len(labels), np.int64), np.zeros(len(labels))
        size = max(1, _BLOCK_VALUES // max(1, len(answers_N)))
        for start in range(0, len(labels), size):
            rows = np.arange(start, min(start + size, len(labels)))
            scores = unit_NE[rows] @ gallery_NE.T
            right = labels[rows, None] == answers_N
            if self._scale is None:  # nobody is to find themselves
                itself = np.arange(len(rows)), rows
                right[itself], scores[itself] = False, -np.inf
            rank_N[rows], loss_N[rows] = self._block(scores, right)
        return _Searches(rank_N, loss_N)

    def _block(
        self, scores_QN: NDArray[np.float32], right_QN: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rank and loss of some queries.

        Args:
            scores_QN: Their cosines to what may answer; minus infinity for what may not.
            right_QN: Which answers are right.
        """
        count_Q = right_QN.sum(axis=1)
        best_Q1 = np.where(right_QN, scores_QN, -np.inf).max(axis=1, keepdims=True)
        before_Q = ((scores_QN >= best_Q1 - np.float32(TIE)) & ~right_QN).sum(axis=1)
        rank_Q = np.where(count_Q > 0, before_Q + 1, 0)
        nearness_Q = np.where(right_QN, scores_QN, 0.0).sum(axis=1, dtype=np.float64)
        # Cosines are at most 1, so that exp needs no other shift: 1e-87 at -1 and the lowest temperature.
        others_Q = np.exp((scores_QN.astype(np.float64) - 1.0) / self._temperature).sum(axis=1)
        with np.errstate(divide="ignore"):  # a split of one row
            total_Q = np.log(others_Q)
        loss_Q = total_Q + (1.0 - nearness_Q / np.maximum(count_Q, 1)) / self._temperature
        return rank_Q, np.where(count_Q > 0, loss_Q, 0.0)


def _of_random_order(metric: MetricName, num_right: int, size: int) -> float:
    """What a query with some right answers among `size` is worth, in the mean over all orders."""
    places = np.arange(size - num_right + 1)
    # That the first r answers are all wrong: a product over them; then the next one is right.
    still_N = np.concatenate([[1.0], np.cumprod((size - num_right - places[:-1]) / (size - places[:-1]))])
    if metric in _DEPTHS:
        return float(1.0 - still_N[_DEPTHS[metric]]) if _DEPTHS[metric] < len(still_N) else 1.0
    first_N = still_N * num_right / (size - places)
    return float((first_N / (places + 1)).sum())


def _of_norm_1(values_NE: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of norm 1; zero rows stay zero."""
    exact_NE = values_NE.astype(np.float64)
    norm_N1 = np.linalg.norm(exact_NE, axis=1, keepdims=True)
    return (exact_NE / np.where(norm_N1 > 0.0, norm_N1, 1.0)).astype(np.float32)
