"""Id, split, label and group of each row: the columns that are not modalities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fdkd_core.data.description import Description
from fdkd_core.data.label_forms import LabelColumn, MaskReader, read_label_column
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.splits import read_splits
from fdkd_core.data.unlabelled import with_stand_ins
from fdkd_core.errors import quote
from fdkd_core.spec.tasks import LabelForm

RESERVED = ("id", "split", "label", "group")
"""Column names that are never modalities."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Annotations:
    """What is known about each row beside its modalities."""

    ids: list[str]
    splits: list[str]
    labels: LabelColumn
    groups: list[str] | None
    warnings: list[str]


def read_annotations(
    cells: Mapping[str, Sequence[object]],
    num_rows: int,
    description: Description,
    log: ProblemLog,
    limits: Limits,
    label_form: LabelForm | None = "class",
    find_masks: MaskReader | None = None,
) -> Annotations:
    """Takes the columns `id`, `split`, `label` and the group.

    Args:
        cells: All columns by name, as the file has them: str, int, float, bool or None.
        num_rows: Rows of the data.
        description: Its `group` names the group column, else `group` is, if there is one; its `labels` say
            how labels are written.
        log: Receives `missing_column`, `duplicate_id`, `invalid_label` and `invalid_values`.
        limits: `max_id_chars` and those of labels apply.
        label_form: As the task reads labels; see `read_label_column`.
        find_masks: Of a format that can hold masks.

    Returns:
        One entry per row. Without an id column the ids are row numbers from 1.
    """
    if "label" not in cells:
        found = ", ".join(quote(name, 40) for name in list(cells)[:8])
        log.add("missing_column", f"there is no column `label`; there are {found}", pointer="label")
    # Of a column that is not there, nothing more is said.
    label_log = log if "label" in cells else ProblemLog()
    splits, warnings = read_splits(cells.get("split"), num_rows, log)
    values = with_stand_ins(cells.get("label", [""] * num_rows), splits)
    labels = read_label_column(values, label_form, description.labels, label_log, limits, splits, find_masks)
    ids = _read_ids(cells["id"], log, limits) if "id" in cells else [str(row + 1) for row in range(num_rows)]
    group_column = description.group
    if group_column is not None and group_column not in cells:
        log.add("missing_column", f"there is no group column {quote(group_column)}", pointer="/group")
    groups = cells.get(group_column or "group")
    return Annotations(
        ids, splits, labels, None if groups is None else _read_groups(groups, log, limits), warnings
    )


def _read_ids(values: Sequence[object], log: ProblemLog, limits: Limits) -> list[str]:
    first_row: dict[str, int] = {}
    ids = []
    for row, value in enumerate(values, start=1):
        text = _short_text(value, limits)
        if text is None:
            log.add(
                "invalid_values",
                f"the id is {quote(value)}; a text of 1 to {limits.max_id_chars} characters is wanted",
                row=row,
                pointer="id",
            )
        elif text in first_row:
            log.add(
                "duplicate_id",
                f"the id {quote(text)} is that of row {first_row[text]} already",
                row=row,
                pointer="id",
            )
        else:
            first_row[text] = row
        ids.append(text or "")
    return ids


def _read_groups(values: Sequence[object], log: ProblemLog, limits: Limits) -> list[str]:
    groups = []
    for row, value in enumerate(values, start=1):
        text = _short_text(value, limits)
        if text is None:
            log.add(
                "invalid_values",
                f"the group is {quote(value)}; a short text is wanted",
                row=row,
                pointer="group",
            )
        groups.append(text or "")
    return groups


def _short_text(value: object, limits: Limits) -> str | None:
    """Text or an integer as text; None when it is anything else, empty, long or unprintable."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    if not text.strip() or len(text) > limits.max_id_chars or _CONTROL.search(text):
        return None
    return text
