"""Rows without a label: what stands in the label's place, and what students make of such rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import UNLABELLED, PairedDataset


def with_stand_ins(values: Sequence[object], splits: Sequence[str]) -> Sequence[object]:
    """The cells of the label column, of which those of rows without a label are not read.

    Whatever they hold, a label of training stands there, so that readers of every form find a label in each
    row. Nothing learns from it: `answered` puts the teacher's answer in its place.

    Args:
        values: One per row.
        splits: One per row.
    """
    if UNLABELLED not in splits:
        return values
    trained = Counter(repr(value) for value, split in zip(values, splits, strict=True) if split == "train")
    # The most frequent one: a bad label, which is reported, is rarely that.
    most = trained.most_common(1)[0][0] if trained else None
    stand_in = next((value for value in values if repr(value) == most), None)
    return [stand_in if split == UNLABELLED else value for value, split in zip(values, splits, strict=True)]


def as_trained(data: PairedDataset, answers: NDArray[Any] | None, *, is_evened: bool) -> PairedDataset:
    """The data of a training: `answered` with a teacher's answers, else `evened` where it is to be."""
    if answers is not None:
        return answered(data, answers)
    return evened(data) if is_evened else data


def answered(data: PairedDataset, answers: NDArray[Any]) -> PairedDataset:
    """The data of a student with a teacher: it trains on all taught rows, the answers standing in for labels.

    Args:
        data: With rows without a label.
        answers: What the teacher answers to each taught row, as labels of the task, [taught rows, ...].
    """
    rows, labels = data.taught_rows, data.labels.copy()
    labels[data.unlabelled] = answers[np.isin(rows, data.unlabelled)]
    return replace(data, labels=labels, splits={**data.splits, "train": rows})


def evened(data: PairedDataset) -> PairedDataset:
    """The data of a student without a teacher: training rows come again until they are as many.

    So a student and its control take the same number of steps, at the same learning rates. Every row comes
    equally often, up to one.
    """
    train = data.splits["train"]
    rows = np.sort(np.resize(train, len(train) + len(data.unlabelled)))
    return replace(data, splits={**data.splits, "train": rows})
