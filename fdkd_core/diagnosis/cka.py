"""Similarity of two sets of features that does not depend on their axes."""

from __future__ import annotations

from fdkd_core.diagnosis.products import Matrix, frobenius


class LinearCKA:
    """Linear centred kernel alignment with one fixed side.

    CKA = ||Xc' Yc||² / (||Xc' Xc|| ||Yc' Yc||), Frobenius norms, columns centred. It is the same for any
    rotation, order or common scale of either side's channels, which for two networks are arbitrary. It grows
    with the number of channels per row, so that it means nothing without its value for shuffled rows.

    Args:
        fixed_NP: One row per sample.

    References:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.
    """

    def __init__(self, fixed_NP: Matrix) -> None:
        self._fixed_NP = fixed_NP - fixed_NP.mean(axis=0)
        self._norm = frobenius(self._fixed_NP, self._fixed_NP)

    def value(self, other_NQ: Matrix) -> float:
        """CKA with another side, 0..1; 0 where a side does not vary."""
        centred_NQ = other_NQ - other_NQ.mean(axis=0)
        norm = self._norm * frobenius(centred_NQ, centred_NQ)
        return frobenius(self._fixed_NP, centred_NQ) ** 2 / norm if norm > 0 else 0.0
