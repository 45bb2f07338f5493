"""Splits whose labels are all alike, so that figures on them tell no model from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.labels import LabelIndex
from fdkd_core.data.table import Split
from fdkd_core.spec.tasks import VOID, LabelForm, RetrievalSpec, TaskSpec


def alike_labels(
    labels: LabelIndex, form: LabelForm, task: TaskSpec | None, rows: Mapping[Split, NDArray[np.int64]]
) -> list[str]:
    """What to know of a validation or test split in which there is nothing to tell apart, or to find.

    By such a validation split the first weights are kept, and a figure of 0 there is no fault of a teacher's.

    Args:
        labels: As the task reads them.
        form: Theirs.
        task: Null where nobody knows it yet.
        rows: Of each split.
    """
    told = []
    judged: tuple[Split, ...] = ("val", "test")
    for split in judged:
        if not len(rows[split]):
            continue
        if form == "mask":  # one after the other, since all of them may be large
            if all((labels.values[row] == VOID).all() for row in rows[split]):
                told.append(f"no mask of {split} has a labelled pixel: figures on them are 0 of any model")
        else:
            told.append(_told(labels.values[rows[split]], split, form, task))
    return [sentence for sentence in told if sentence]


def _told(values: NDArray[Any], split: Split, form: LabelForm, task: TaskSpec | None) -> str:
    """Of the labels of one split; empty where there is nothing to say."""
    if form == "numbers":
        is_same = (values == values[0]).all()
        return f"all rows of {split} have the same numbers: whoever says them is right" if is_same else ""
    if form == "classes":
        return "" if values.any() else f"no row of {split} has any class: there mAP and F1 are 0 of any model"
    count_C = np.unique(values, return_counts=True)[1]
    is_one = len(count_C) == 1
    if form != "identity" and not isinstance(task, RetrievalSpec):
        told = f"all rows of {split} are of one class: figures on them say nothing of the others"
        return told if is_one else ""
    if count_C.max() == 1:
        return f"no two rows of {split} are of one label: nothing can be found, and recall is 0 of any model"
    return f"all rows of {split} are of one label: whatever is found is right" if is_one else ""
