"""Class labels: what may be one, and which class index it becomes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.count_words import count
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.table import TargetScale
from fdkd_core.errors import DatasetError, Problem, quote

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?(?:inf|infinity)", re.IGNORECASE)
_MISSING = frozenset({"", "nan", "none", "null"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Form = Literal["integer", "text", "refused"]


@dataclass(frozen=True)
class LabelIndex:
    """The labels as a task reads them."""

    classes: list[str]
    """Names of the classes by index: the file's class names where it has them. Empty for numbers."""
    values: NDArray[Any]
    """Of one class a row: indexes, int64 [rows], 0 to len(classes) - 1. Of sets: zeros and ones, float32
    [rows, classes]. Of numbers: float32 [rows, targets]. Of masks: uint8 [rows, H, W]."""
    warnings: list[str]
    targets: TargetScale | None = None
    """Names and scale of numbers."""

    def counts(self, rows: NDArray[np.int64]) -> dict[str, int]:
        """How many of some rows have each class, in some pixel where they are masks; empty for numbers."""
        if self.targets is not None:
            return {}
        if self.values.ndim == 3:
            there = np.zeros(len(self.classes), dtype=np.int64)
            for row in rows:
                there += np.bincount(self.values[row].reshape(-1), minlength=256)[: len(there)] > 0
            return dict(zip(self.classes, there.tolist(), strict=True))
        if self.values.ndim == 2:
            return dict(zip(self.classes, self.values[rows].sum(axis=0).astype(int).tolist(), strict=False))
        found = np.bincount(self.values[rows], minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))


def read_labels(values: Sequence[object], log: ProblemLog, limits: Limits = DEFAULT) -> list[str]:
    """Takes labels that are all integers or all text.

    Args:
        values: One per row, as the file has them: str, int, bool, float or None.
        log: Receives `invalid_label` for each row whose label is missing, a fraction, negative, too long,
            or of the rarer form where integers and text are mixed.
        limits: `max_label_chars` applies.

    Returns:
        The labels as text; integers in their shortest form, so that 07 and 7 are one class.
    """
    known: dict[object, tuple[str, Form, str]] = {}
    judged = []
    for value in values:
        # True == 1 == 1.0 as keys of a dict, but they are not the same label.
        key = (type(value), tuple(value) if isinstance(value, list) else value)
        if key not in known:
            known[key] = judge_label(value, limits)
        judged.append(known[key])
    num_integers = sum(form == "integer" for _, form, _ in judged)
    num_texts = sum(form == "text" for _, form, _ in judged)
    rarer: Form | None = None
    if num_integers and num_texts:
        rarer = "integer" if num_integers < num_texts else "text"
    for row, (text, form, reason) in enumerate(judged, start=1):
        if form == "refused":
            log.add("invalid_label", reason, row=row, pointer="label")
        elif form == rarer:
            other = "text" if rarer == "integer" else "an integer"
            log.add(
                "invalid_label",
                f"the label {quote(text)} is {'an integer' if rarer == 'integer' else 'text'} but most are "
                f"{other}; they must all be one or the other",
                row=row,
                pointer="label",
            )
    return [text for text, _, _ in judged]


def judge_label(value: object, limits: Limits) -> tuple[str, Form, str]:
    """A class as text, its form, and why it is refused."""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, list | tuple):
        return "", "refused", "the label is a list; one class is wanted, text or an integer"
    if not isinstance(value, str | int | float | None):
        return "", "refused", f"the label is a {type(value).__name__}; text or an integer is wanted"
    if value is None:
        return "", "refused", "the label is missing"
    text = str(value).strip()
    if text.lower() in _MISSING:
        return text, "refused", "the label is missing"
    if INTEGER.fullmatch(text):
        number = int(text)
        if number < 0:
            return (
                text,
                "refused",
                f"the label {number} is negative; integers count from 0, other names are text",
            )
        return str(number), "integer", ""
    if FLOAT.fullmatch(text):
        return text, "refused", f"the label {quote(text)} is a fraction or too large; use integers or text"
    if len(text) > limits.max_label_chars:
        return (
            text[:80],
            "refused",
            f"the label has {len(text)} characters; {limits.max_label_chars} are allowed",
        )
    if _CONTROL.search(text):
        return text, "refused", f"the label {quote(text)} contains a control character"
    return text, "text", ""


def read_class_names(values: Sequence[object], log: ProblemLog, limits: Limits = DEFAULT) -> list[str]:
    """Takes names for the classes.

    Args:
        values: By class index.
        log: Receives `invalid_label` for names that are empty, equal, or not text.
        limits: `max_classes` and `max_label_chars` apply.

    Returns:
        The names that are fine.
    """
    names: list[str] = []
    if len(values) > limits.max_classes:
        log.add("exceeds_limit", f"{len(values)} class names; {limits.max_classes} are allowed")
        return names
    for value in values:
        name = value.strip() if isinstance(value, str) else ""
        if not name or len(name) > limits.max_label_chars or _CONTROL.search(name):
            log.add("invalid_label", f"the class name {quote(value)} is not usable", pointer="class_names")
        elif name in names:
            log.add("invalid_label", f"the class name {quote(name)} is given twice", pointer="class_names")
        else:
            names.append(name)
    return names


def index_labels(
    labels: Sequence[str],
    splits: Sequence[str],
    class_names: Sequence[str] | None = None,
    limits: Limits = DEFAULT,
) -> LabelIndex:
    """Numbers the classes that occur in training.

    The order is that of `class_names` where they are given, numerical for integers, and by code point for
    text. With class names, labels are either such names or indexes into them.

    Args:
        labels: One per row, as `read_labels` returns them.
        splits: One per row; classes are those of the `train` rows.
        class_names: Names by class index.
        limits: `max_classes` and `max_bad_rows` apply.

    Returns:
        The classes and the index of every row.

    Raises:
        DatasetError: `dataset_too_small` for fewer than two classes in training; `invalid_label` for labels
            beyond `class_names` or not in them, and for classes that training lacks; `exceeds_limit` for
            too many classes.
    """
    shown = shown_names(labels, class_names, limits)
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    named = [(row, label, split) for row, (label, split) in enumerate(zip(labels, splits, strict=True), 1)]
    refuse_untrained(named, trained, limits)
    order = class_order(trained, class_names)
    index_of = {label: index for index, label in enumerate(order)}
    indexes = np.array([index_of[label] for label in labels], dtype=np.int64)
    classes = [shown.get(label, label) for label in order]
    warnings = []
    unused = [name for name in class_names or () if name not in classes]
    if unused:
        warnings.append(
            f"{len(unused)} of the class names have no training rows and are left out: "
            + ", ".join(quote(name) for name in unused[:10])
        )
    return LabelIndex(classes, indexes, warnings)


def shown_names(labels: Sequence[str], class_names: Sequence[str] | None, limits: Limits) -> dict[str, str]:
    """Label to class name; empty where the labels name themselves."""
    if class_names is None or set(labels) <= set(class_names):
        return {}
    log = ProblemLog(limits.max_bad_rows)
    for row, label in enumerate(labels, start=1):
        is_index = INTEGER.fullmatch(label) is not None
        if is_index and int(label) < len(class_names):
            continue
        what = f"there are {len(class_names)} class names" if is_index else "it is not one of the class names"
        log.add("invalid_label", f"the label {quote(label)} has no name: {what}", row=row, pointer="label")
    log.raise_if_any()
    return {label: class_names[int(label)] for label in set(labels)}


def class_order(trained: set[str], class_names: Sequence[str] | None) -> list[str]:
    """The classes that occur in training, in the order that gives them their indexes."""
    if class_names is not None and all(label in class_names for label in trained):
        return [name for name in class_names if name in trained]
    if all(INTEGER.fullmatch(label) for label in trained):
        return sorted(trained, key=int)
    return sorted(trained)


def refuse_untrained(named: Sequence[tuple[int, str, str]], trained: set[str], limits: Limits) -> None:
    """Refuses too few or too many classes, and rows of classes that training lacks.

    Args:
        named: Row from 1, class and split of everything that is named.
        trained: The classes of training.
        limits: `max_classes` and `max_bad_rows` apply.
    """
    if len(trained) < 2:
        detail = f"training has {count(len(trained), 'class', 'classes')}; at least 2 are needed"
        raise DatasetError(Problem("dataset_too_small", detail, "label"))
    if len(trained) > limits.max_classes:
        raise DatasetError(
            Problem(
                "exceeds_limit",
                f"the labels have {len(trained)} different values; {limits.max_classes} classes are allowed",
                "label",
            )
        )
    log = ProblemLog(limits.max_bad_rows)
    for row, label, split in named:
        if label not in trained:
            log.add(
                "invalid_label",
                f"the label {quote(label)} of this {split} row does not occur in training, as only "
                "identities may (`labels.form` of dataset.yaml)",
                row=row,
                pointer="label",
            )
    log.raise_if_any()
