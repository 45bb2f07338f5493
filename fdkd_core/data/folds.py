"""Cross-validation over the training rows: which of them each fold holds out, and the data without them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.described import FEW_GROUPS
from fdkd_core.data.table import PairedDataset
from fdkd_core.spec.tasks import RetrievalSpec
from fdkd_core.spec.trainings import USUAL_FOLDS

MIN_FOLDS = 3
"""With two, a finalist is judged by trainings on half of the rows."""


def folds_asked(
    data: PairedDataset, folds: int | Literal["auto"] | None, seed: int, batch_size: int
) -> int | None:
    """By how many folds finalists are judged; None for the validation split.

    Args:
        data: Of a job.
        folds: What its spec says. `auto`: folds where validation has few groups, training has more, and a
            batch of rows is left without the largest fold.
        seed: Of the job's training.
        batch_size: Of the job's training.
    """
    if folds != "auto":
        return folds
    val, train = (data.groups_of(split) for split in ("val", "train"))
    if val is None or train is None:
        return None
    known, others = len(np.unique(val)), len(np.unique(train))
    if known >= FEW_GROUPS or others <= known or others < MIN_FOLDS:
        return None
    left = min(int((~is_out).sum()) for is_out in held_out_rows(data, USUAL_FOLDS, seed))
    return USUAL_FOLDS if left >= batch_size else None


def fold_groups(data: PairedDataset) -> NDArray[np.int64] | None:
    """Number of what stays together of each row, shape [rows]; None where rows are independent.

    Of a retrieval by label it is the label: a row is found by others of its own, which dealt out would be in
    other folds, and as in the splits nobody is asked about what was learned.
    """
    if data.groups is not None:
        return data.groups
    return data.labels if isinstance(data.task, RetrievalSpec) and data.labels.ndim == 1 else None


def held_out_rows(data: PairedDataset, folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Which taught rows each fold keeps from training, [taught rows] each.

    Whole groups where the data have groups (see `fold_groups`), the largest first, each to the fold that has
    the fewest training rows so far: no model is judged on somebody it has seen. Else training rows of each
    class, dealt out in a random order; rows without a label are then never held out.

    Args:
        data: Of a job.
        folds: At least two; where there are fewer groups, there are as many folds as groups.
        seed: Of the order of rows.

    Returns:
        Fewer than two entries where there is only one group. Without groups some hold out nothing where there
        are fewer training rows with a label than folds.
    """
    taught = data.taught_rows
    is_train = np.isin(taught, data.splits["train"])
    known = fold_groups(data)
    if known is None:
        number = np.full(len(taught), -1)
        number[is_train] = _dealt(data.strata[taught[is_train]], folds, seed)
        return [number == fold for fold in range(folds)]
    groups = known[taught]
    names, counts = np.unique(groups[is_train], return_counts=True)
    members: list[list[int]] = [[] for _ in range(min(folds, len(names)))]
    sizes = [0] * len(members)
    for place in np.argsort(-counts, kind="stable"):
        smallest = int(np.argmin(sizes))
        members[smallest].append(int(names[place]))
        sizes[smallest] += int(counts[place])
    return [np.isin(groups, fold) for fold in members]


def without(data: PairedDataset, is_out: NDArray[np.bool_]) -> PairedDataset:
    """The data of one fold: nobody trains on its rows, and those with a label are its test split.

    Args:
        data: Of a job.
        is_out: One entry of `held_out_rows`.
    """
    out, train = data.taught_rows[is_out], data.splits["train"]
    kept = {"train": np.setdiff1d(train, out), "test": np.intersect1d(train, out)}
    splits = {**data.splits, "train": kept["train"], "test": kept["test"]}
    if len(data.unlabelled):
        splits["unlabelled"] = np.setdiff1d(data.unlabelled, out)
    return replace(data, splits=splits)


def _dealt(strata: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each row, so that each class is in all of them as evenly as can be."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(strata))
    by_class = order[np.argsort(strata[order], kind="stable")]
    number = np.empty(len(strata), dtype=np.int64)
    number[by_class] = np.arange(len(strata)) % folds
    return number
