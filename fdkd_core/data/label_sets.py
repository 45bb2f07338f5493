"""Labels that are sets of classes: what may be one, and which columns of zeros and ones they become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fdkd_core.data.labels import LabelIndex, class_order, judge_label, refuse_untrained, shown_names
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError, Problem, quote


def read_label_sets(
    values: Sequence[object], separator: str, log: ProblemLog, limits: Limits = DEFAULT
) -> list[tuple[str, ...]]:
    """Takes labels that are lists of classes, or text with a separator between them.

    A class is text or an integer, as for `read_labels`, the same in all rows. An empty list, or a text that
    is the separator alone, says that no class applies; an empty cell says nothing, and is refused.

    Args:
        values: One per row: list, str, int, float, bool or None.
        separator: Between the classes of a text.
        log: Receives `invalid_label` for each row that is missing, names a class twice or something that is
            no class, or mixes integers and text.
        limits: `max_label_chars` and `max_classes` apply.

    Returns:
        The classes of each row in the file's order; integers in their shortest form.
    """
    found: list[tuple[str, ...]] = []
    forms: list[set[str]] = []
    for row, value in enumerate(values, start=1):
        names: list[str] = []
        kinds: set[str] = set()
        for part in _parts(value, separator, row, log):
            text, form, reason = judge_label(part, limits)
            if form == "refused":
                log.add("invalid_label", reason, row=row, pointer="label")
                continue
            if text in names:
                log.add("invalid_label", f"the class {quote(text)} is named twice", row=row, pointer="label")
            names.append(text)
            kinds.add(form)
        if len(names) > limits.max_classes:
            detail = f"{len(names)} classes in one row; {limits.max_classes} are allowed"
            log.add("exceeds_limit", detail, row=row, pointer="label")
        found.append(tuple(names))
        forms.append(kinds)
    _refuse_mixed(forms, log)
    return found


def _parts(value: object, separator: str, row: int, log: ProblemLog) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        if value.strip() == separator.strip() and value.strip():
            return []
        if value.strip():
            return [part.strip() for part in value.split(separator)]
    elif isinstance(value, int):
        return [value]
    detail = f"the label is missing; where no class applies, write [] or {quote(separator)}"
    log.add("invalid_label", detail, row=row, pointer="label")
    return []


def _refuse_mixed(forms: Sequence[set[str]], log: ProblemLog) -> None:
    integers = sum("integer" in form for form in forms)
    texts = sum("text" in form for form in forms)
    if not integers or not texts:
        return
    rarer, other = ("integer", "text") if integers < texts else ("text", "integers")
    for row, form in enumerate(forms, start=1):
        if rarer in form:
            what = "an integer" if rarer == "integer" else "text"
            detail = f"a class is {what} but most are {other}; they must all be one or the other"
            log.add("invalid_label", detail, row=row, pointer="label")


def index_label_sets(
    labels: Sequence[tuple[str, ...]],
    splits: Sequence[str],
    class_names: Sequence[str] | None = None,
    limits: Limits = DEFAULT,
) -> LabelIndex:
    """Numbers the classes that occur in training, in the order of `index_labels`.

    Args:
        labels: One per row, as `read_label_sets` returns them.
        splits: One per row.
        class_names: Names by class index.
        limits: `max_classes`, `max_label_values` and `max_bad_rows` apply.

    Returns:
        Its `values` are float32 [rows, classes]: 1 where a class applies, 0 elsewhere.

    Raises:
        DatasetError: As `index_labels`; `exceeds_limit` for too many values.
    """
    flat = [name for row in labels for name in row]
    shown = shown_names(flat, class_names, limits)
    rows = list(zip(labels, splits, strict=True))
    trained = {name for names, split in rows if split == "train" for name in names}
    named = [(row, name, split) for row, (names, split) in enumerate(rows, start=1) for name in names]
    refuse_untrained(named, trained, limits)
    order = class_order(trained, class_names)
    if len(labels) * len(order) > limits.max_label_values:
        detail = f"{len(labels)} rows of {len(order)} classes; {limits.max_label_values} values are allowed"
        raise DatasetError(Problem("exceeds_limit", detail, "label"))
    column = {name: index for index, name in enumerate(order)}
    values = np.zeros((len(labels), len(order)), dtype=np.float32)
    for row, names in enumerate(labels):
        values[row, [column[name] for name in names]] = 1.0
    classes = [shown.get(name, name) for name in order]
    warnings = []
    is_train = np.array([split == "train" for split in splits], dtype=bool)
    always = [classes[index] for index in np.flatnonzero(values[is_train].all(axis=0))]
    if always:
        listed = ", ".join(quote(name) for name in always[:10])
        warnings.append(f"{len(always)} classes apply to every training row, and cannot be learnt: {listed}")
    return LabelIndex(classes, values, warnings)
