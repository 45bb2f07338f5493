"""An embedding per sample, by which samples of one label find each other.

Within a split every row is a query and all other rows are the gallery. Shape legend: B samples of a batch,
N of a split, E numbers of an embedding, Q rows of a block.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.losses.embeddings import supervised_contrast
from fdkd_core.spec.figures import RetrievalMetrics
from fdkd_core.spec.tasks import RetrievalSpec, TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite

TIE = 1e-6
"""Cosines that differ by less are equal: in float32 two equal embeddings may differ by as much, and the order
of rows that a network cannot tell apart must not pass for a find."""
_BLOCK_VALUES = 1 << 22
"""Similarities at a time: 16 MB, and some times that for what is made of them, however large the split."""
_DEPTHS = {"recall_at_1": 1, "recall_at_5": 5, "recall_at_10": 10}


class _Searches(NamedTuple):
    """What came of asking for every row of a split."""

    ranks: NDArray[np.int64]
    """Of the nearest row with the query's label, from 1; 0 where there is no other such row."""
    losses: NDArray[np.float64]
    """Supervised contrastive loss against the split, in nats; 0 there."""

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which rows count as queries."""
        found: NDArray[np.bool_] = self.ranks > 0
        return found


class Retrieval(Task):
    """Supervised contrast; the row of the largest cosine is the answer.

    Args:
        spec: Temperature, and how batches are drawn.
    """

    kind: ClassVar[TaskKind] = "retrieval"

    def __init__(self, spec: RetrievalSpec) -> None:
        self._temperature = spec.temperature
        self.rows_together = spec.rows_per_label

    def loss(self, outputs_BC: Float[Tensor, "b e"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Of each row against the others of the batch, shape [B]; 0 without another of its label."""
        return supervised_contrast(outputs_BC, labels, temperature=self._temperature)

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[np.int64]) -> RetrievalMetrics:
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
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[np.int64]
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

    def _searched(self, outputs_NE: NDArray[np.float32], labels_N: NDArray[np.int64]) -> _Searches:
        """Asks for every row, a block of rows at a time."""
        exact_NE = outputs_NE.astype(np.float64)
        norm_N1 = np.linalg.norm(exact_NE, axis=1, keepdims=True)
        unit_NE = np.where(norm_N1 > 0.0, exact_NE / np.where(norm_N1 > 0.0, norm_N1, 1.0), 0.0)
        unit_NE = unit_NE.astype(np.float32)
        rank_N, loss_N = np.zeros(len(labels_N), np.int64), np.zeros(len(labels_N))
        size = max(1, _BLOCK_VALUES // max(1, len(labels_N)))
        for start in range(0, len(labels_N), size):
            rows = np.arange(start, min(start + size, len(labels_N)))
            rank_N[rows], loss_N[rows] = self._block(unit_NE, labels_N, rows)
        return _Searches(rank_N, loss_N)

    def _block(
        self, unit_NE: NDArray[np.float32], labels_N: NDArray[np.int64], rows_Q: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rank and loss of some rows against all others."""
        scores_QN = unit_NE[rows_Q] @ unit_NE.T
        right_QN = labels_N[rows_Q, None] == labels_N
        itself = np.arange(len(rows_Q)), rows_Q
        right_QN[itself], scores_QN[itself] = False, -np.inf
        count_Q = right_QN.sum(axis=1)
        best_Q1 = np.where(right_QN, scores_QN, -np.inf).max(axis=1, keepdims=True)
        before_Q = ((scores_QN >= best_Q1 - np.float32(TIE)) & ~right_QN).sum(axis=1)
        rank_Q = np.where(count_Q > 0, before_Q + 1, 0)
        nearness_Q = np.where(right_QN, scores_QN, 0.0).sum(axis=1, dtype=np.float64)
        # Cosines are at most 1, so that exp needs no other shift.
        others_Q = np.exp((scores_QN - 1.0) / self._temperature).sum(axis=1, dtype=np.float64)
        with np.errstate(divide="ignore"):  # a split of one row
            total_Q = np.log(others_Q)
        loss_Q = total_Q + (1.0 - nearness_Q / np.maximum(count_Q, 1)) / self._temperature
        return rank_Q, np.where(count_Q > 0, loss_Q, 0.0)
