"""Whether data can be parted into the folds by which `auto` judges its finalists (docs/decisions/0030)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.job import DistillSpec
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods.auto import AutoSpec
from fdkd_core.spec.unlabelled_fit import unlabelled_rows

POINTER = "/method/folds"


def fold_problems(spec: AnyJobSpec, dataset: Mapping[str, Any], rows: int) -> list[Problem]:
    """What no seed and no parting of the rows can mend.

    How groups are dealt out, and which of them a cut of validation takes, is known when the job starts, which
    says the rest.

    What folds hold out, and so what must be enough for them, are groups that have training rows with a label.
    Without groups they are these rows themselves. Rows without a label judge nothing: they only add to what a
    fold leaves.

    Args:
        spec: The job.
        dataset: The report on it.
        rows: Training rows with a label that the student can learn from, at most.

    Returns:
        `dataset_too_small`: There is a single group, there are more folds than rows, or a fold leaves fewer
        rows than a batch.
    """
    if not isinstance(spec, DistillSpec) or not isinstance(spec.method, AutoSpec):
        return []
    if not isinstance(spec.method.folds, int):
        return []  # `auto` parts nothing that cannot be parted
    folds, largest, splits = spec.method.folds, 0, dataset["splits"]
    groups = splits["train"].get("groups")  # reports of old have none, nor have data without such a column
    if groups is not None:
        if dataset.get("validation_cut_by") == "group":
            groups += splits["val"]["groups"] - 1
        else:
            largest = splits["train"]["largest_group"]
        if groups < 2:
            return [one_group()]
        folds = min(folds, groups)
    elif rows < folds:
        return [empty_folds(rows, folds)]
    kept = rows - max(largest, ceil(rows / folds)) + unlabelled_rows(dataset)
    return [too_few_rows(kept, spec.training.batch_size)] if kept < spec.training.batch_size else []


def one_group() -> Problem:
    """There is nobody to hold out."""
    return Problem(
        "dataset_too_small", "the training rows are all of one group, which cannot be parted", POINTER
    )


def empty_folds(rows: int, folds: int) -> Problem:
    """Some would hold out nothing to judge by."""
    detail = f"{folds} folds need a training row with a label each; there are {rows}"
    return Problem("dataset_too_small", detail, POINTER)


def too_few_rows(rows: int, batch_size: int) -> Problem:
    """Training without a fold could fill no batch."""
    detail = f"without its largest fold training has {rows} rows; batches have {batch_size}"
    return Problem("dataset_too_small", detail, POINTER)
