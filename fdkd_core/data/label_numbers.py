"""Labels that are numbers: what may be one, and the scale on which they are learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.count_words import count
from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.labels import FLOAT, INTEGER, LabelIndex
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.table import TargetScale
from fdkd_core.errors import DatasetError, Problem, quote

MAX_TARGET = 1e30
"""Networks answer in float32, of which this is far within; larger numbers are a missing value in disguise."""

MAX_OFFSET = 1e5
"""Most standard deviations that the mean of a target may be away from 0: float32 then rounds answers to about
a hundredth of one."""


def read_numbers(
    values: Sequence[object], description: LabelsDescription, log: ProblemLog, limits: Limits = DEFAULT
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Takes labels that are one number a row, or as many in each.

    Args:
        values: One per row: int, float, str or None, or a list of those. Several numbers in a text have the
            description's separator between them.
        description: Its `separator` and `names` apply.
        log: Receives `invalid_label` for each row without a number, with one that is not finite, or with
            another count than most rows.
        limits: `max_classes` bounds the targets, `max_label_values` all numbers.

    Returns:
        Shape [rows, targets], zeros in bad rows; and the names of the targets: `target`, or `target1` and so
        on, where dataset.yaml names none.
    """
    rows = [_numbers(value, description.separator, row, log) for row, value in enumerate(values, start=1)]
    lengths = [len(found) for found in rows if found]
    count = max(set(lengths), key=lambda length: (lengths.count(length), length)) if lengths else 1
    for row, found in enumerate(rows, start=1):
        if found and len(found) != count:
            log.add(
                "invalid_label", f"{len(found)} numbers; most rows have {count}", row=row, pointer="label"
            )
    allowed = min(limits.max_classes, limits.max_label_values // max(len(values), 1))
    if count > allowed:
        log.add("exceeds_limit", f"{count} numbers a row; {allowed} are allowed", pointer="label")
        count = 1
    names = tuple(description.names or ())
    if names and (len(names) != count or len(set(names)) != count):
        detail = f"found {len(names)} names; {count} different ones are needed, one for each number of a row"
        log.add("invalid_description", detail, pointer="/labels/names")
    if not names:
        names = ("target",) if count == 1 else tuple(f"target{index}" for index in range(1, count + 1))
    blank = [0.0] * count
    exact = [found if len(found) == count else blank for found in rows]
    return np.array(exact, dtype=np.float64).reshape(len(values), count), names


def _numbers(value: object, separator: str, row: int, log: ProblemLog) -> list[float]:
    """The numbers of a row; none where one is bad, which is noted."""
    parts: list[object] = [value]
    if isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, str) and separator in value:
        parts = list(value.split(separator))
    if not parts:
        log.add("invalid_label", "the list of numbers is empty", row=row, pointer="label")
    found = []
    for part in parts:
        number = _number(part)
        if isinstance(number, str):
            log.add("invalid_label", number, row=row, pointer="label")
            return []
        found.append(number)
    return found


def _number(value: object) -> float | str:
    """The number, or why it is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "the label is missing"
    if isinstance(value, str):
        text = value.strip()
        if not FLOAT.fullmatch(text) and not INTEGER.fullmatch(text):
            return f"the label {quote(text)} is not a number"
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"the label is a {type(value).__name__}; a number is wanted"
    if math.isnan(value):
        return "the label is missing"
    if abs(value) > MAX_TARGET:
        return f"the label {value:.3g} is too large; at most {MAX_TARGET:.0e} is allowed"
    return float(value)


def index_numbers(numbers: NDArray[np.float64], names: Sequence[str], splits: Sequence[str]) -> LabelIndex:
    """Puts the numbers on the scale on which they are learnt: mean 0 and variance 1 over the training rows.

    So that one learning rate and one weight suit every unit, and no target outweighs another.

    Returns:
        Its `values` are float32 [rows, targets] on that scale, and `targets` is the way back.

    Raises:
        DatasetError: `dataset_too_small` for fewer than two training rows; `invalid_label` for a target that
            is the same in all of them, or so nearly that answers in float32 could not tell them apart.
    """
    is_train = np.array([split == "train" for split in splits], dtype=bool)
    if is_train.sum() < 2:
        detail = f"training has {count(int(is_train.sum()), 'row')}; at least 2 are needed"
        raise DatasetError(Problem("dataset_too_small", detail, "split"))
    trained = numbers[is_train]
    constant = [name for name, column in zip(names, trained.T, strict=True) if (column == column[0]).all()]
    if constant:
        listed = ", ".join(quote(name) for name in constant[:10])
        detail = f"the same in all training rows, so there is nothing to learn: {listed}"
        raise DatasetError(Problem("invalid_label", detail, "label"))
    scale = TargetScale(tuple(names), trained.mean(axis=0), trained.std(axis=0))
    _refuse_far_from_zero(scale)
    return LabelIndex([], scale.standardised(numbers).astype(np.float32), [], scale)


def _refuse_far_from_zero(scale: TargetScale) -> None:
    """A student answers in units of the data, as float32, in which 1.7e9 is followed by 1.7e9 + 128."""
    far = np.abs(scale.mean) > MAX_OFFSET * scale.std
    told = [
        f"{quote(name)}: mean {mean:.6g}, standard deviation {std:.3g}"
        for name, mean, std in zip(
            np.array(scale.names)[far].tolist(), scale.mean[far], scale.std[far], strict=True
        )
    ]
    if told:
        detail = (
            "too far from 0 for how little they differ, so that answers (float32) would be rounded to a few "
            f"values; subtract a constant: {'; '.join(told[:10])}"
        )
        raise DatasetError(Problem("invalid_label", detail, "label"))


def describe_targets(
    numbers: NDArray[np.float64] | None, scale: TargetScale | None, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """The numbers that are learnt, over the training rows; empty for classes."""
    if numbers is None or scale is None:
        return []
    found = zip(scale.names, scale.mean, scale.std, numbers[rows].T, strict=True)
    return [
        {"name": name, "mean": float(mean), "std": float(std), "min": float(x.min()), "max": float(x.max())}
        for name, mean, std, x in found
    ]
