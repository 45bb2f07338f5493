"""How much of each band of the teacher's feature the student's side holds, beside its nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.diagnosis.cka import LinearCKA
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.ridge import FoldedRidge
from fdkd_core.diagnosis.shuffles import permutations, spread
from fdkd_core.diagnosis.views import Components
from fdkd_core.frequency import split_bands
from fdkd_core.methods.base import MethodContext
from fdkd_core.methods.fd_cmkd import make_basis
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec
from fdkd_core.spec.findings import Band, Similarity, SimilarityFindings, Spread

SHUFFLES = 100
"""A value above all of them has p < 0.01."""
CHANNEL_ORDERS = 20
MIN_EXCESS = 0.01
"""Above the mean of the null: what is less is of no use, however sure."""
MAX_TARGETS = 128
"""Principal components of a band that are predicted; all of them up to this width."""

View = Literal["inputs", "features"]


Splitter = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From features to their low and high band."""


def make_splitter(method: FDCMKDSpec, fitted: ModelOutput, labels_N: NDArray[Any], seed: int) -> Splitter:
    """The split of a method into bands.

    Args:
        method: Whose cutoff and basis to take.
        fitted: The teacher's outputs over rows that a basis may be made from.
        labels_N: Their labels: classes where the basis is made from those.
        seed: Of a random basis.
    """
    if method.basis == "fft" or not method.split:  # then it has no bands of its own
        return lambda features_BD: split_bands(features_BD, cutoff=method.cutoff)
    dim = fitted.features.shape[1]
    context = MethodContext(
        student_dim=dim,
        teacher_dim=dim,
        num_classes=fitted.logits.shape[1],
        teacher_outputs=fitted,
        labels=torch.from_numpy(labels_N),
        num_rows=len(labels_N),
        seed=seed,
    )
    return make_basis(method, context)


def bands_of(features_ND: Matrix, splitter: Splitter) -> dict[Band, Matrix]:
    """Low and high band, and the whole feature without its mean over channels.

    A feature of one channel has no bands, and is taken as it is.
    """
    if features_ND.shape[1] < 2:
        return {"whole": features_ND}
    low, high = splitter(torch.from_numpy(features_ND))
    whole = features_ND - features_ND.mean(axis=1, keepdims=True)
    return {"low": low.numpy(), "high": high.numpy(), "whole": whole}


def measure_similarity(
    features_ND: Matrix,
    views: Mapping[View, Matrix],
    strata_N: NDArray[np.int64] | None,
    *,
    stratum: str = "class",
    method: FDCMKDSpec,
    splitter: Splitter,
    student_dim: int,
    rng: np.random.Generator,
) -> SimilarityFindings:
    """Cross-validated R² of ridge regression, and linear CKA, for every band and view.

    Args:
        features_ND: The teacher's, of rows that nobody learned from.
        views: Of the student, one row per sample.
        strata_N: Such as classes, for the null within them; None where there are none.
        stratum: What they are, for the record.
        method: Whose bands they are, for the record.
        splitter: Into these bands.
        student_dim: Width of the student's feature, for the record.
        rng: Of folds, shuffles and channel orders.
    """
    bands = bands_of(features_ND, splitter)
    orders = [rng.permutation(features_ND.shape[1]) for _ in range(CHANNEL_ORDERS)]
    if method.basis not in ("fft", "dct"):
        orders = []  # no other basis is along the channels
    reordered = [bands_of(np.ascontiguousarray(features_ND[:, order]), splitter) for order in orders]
    shuffles = {False: list(permutations(len(features_ND), SHUFFLES, rng))}
    if strata_N is not None:
        shuffles[True] = list(permutations(len(features_ND), SHUFFLES, rng, strata=strata_N))
    measures = []
    for view, matrix in views.items():
        ridge, cka = FoldedRidge(matrix, rng), LinearCKA(matrix)
        for band, target in bands.items():
            others = [found[band] for found in reordered] if band != "whole" else []
            measures.append(_measure("r2", _r2(ridge), band, view, target, others, shuffles))
            measures.append(_measure("cka", cka.value, band, view, target, others, shuffles))
    whole = bands["whole"]
    variance = max(float(whole.var(axis=0).sum()), 1e-300)
    mean_energy = features_ND.shape[1] * float((features_ND.mean(axis=1) ** 2).sum())
    return SimilarityFindings(
        cutoff=method.cutoff,
        basis=method.basis,
        teacher_dim=features_ND.shape[1],
        student_dim=student_dim,
        repeats=SHUFFLES,
        stratum=None if strata_N is None else stratum,
        band_energy={band: float(part.var(axis=0).sum()) / variance for band, part in bands.items()},
        mean_energy=mean_energy / max(float((features_ND**2).sum()), 1e-300),
        measures=measures,
    )


def _r2(ridge: FoldedRidge) -> Callable[[Matrix], float]:
    return ridge.r2


def _narrow(band: Matrix) -> Matrix:
    return Components(band, MAX_TARGETS).of(band) if band.shape[1] > MAX_TARGETS else band


def _measure(
    measure: Literal["r2", "cka"],
    value_of: Callable[[Matrix], float],
    band: Band,
    view: View,
    target: Matrix,
    others: list[Matrix],
    shuffles: dict[bool, list[NDArray[np.int64]]],  # by whether they are within strata
) -> Similarity:
    narrow = _narrow(target)
    value = value_of(narrow)
    nulls = {within: [value_of(narrow[order]) for order in orders] for within, orders in shuffles.items()}
    return Similarity(
        band=band,
        view=view,
        measure=measure,
        value=value,
        shuffled=spread(nulls[False]),
        shuffled_within_class=spread(nulls[True]) if True in nulls else None,
        other_channel_orders=_of_orders(value_of, others),
        is_above_shuffled=is_above(value, nulls[False]),
        is_above_within_class=is_above(value, nulls[True]) if True in nulls else None,
    )


def _of_orders(value_of: Callable[[Matrix], float], others: list[Matrix]) -> Spread | None:
    return spread([value_of(_narrow(other)) for other in others]) if others else None


def is_above(value: float, null: list[float]) -> bool:
    """Whether a value stands out: above every random repeat, and by more than `MIN_EXCESS`."""
    return value > max(null) and value > float(np.mean(null)) + MIN_EXCESS
