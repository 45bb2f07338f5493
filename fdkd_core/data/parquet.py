"""One parquet file: a column per modality, and `label`, `split`, `id`, `group`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.annotations import read_annotations
from fdkd_core.data.checked_table import checked_table, identity
from fdkd_core.data.columns import TextColumn
from fdkd_core.data.description import Description
from fdkd_core.data.limits import Limits
from fdkd_core.data.missing_values import note_missing
from fdkd_core.data.parquet_process import read_in_child
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.data.table import Table
from fdkd_core.errors import DatasetError, Problem
from fdkd_core.spec.tasks import LABEL_WORDS, LabelForm


def read_parquet(
    file: OpenFile,
    description: Description,
    limits: Limits,
    *,
    sidecar_sha256: str,
    label_form: LabelForm | None = "class",
) -> Table:
    """Reads a parquet file into memory. The file is parsed in a child process, which takes about a second.

    Columns may be bytes, text, numbers, lists of numbers up to three deep, or structs of `bytes` and `path`.
    Columns of other types are left out, and reported. Masks are bytes, such structs, or rows of integers.

    Args:
        file: The open file.
        description: dataset.yaml, or an empty one.
        limits: Sizes allowed.
        sidecar_sha256: Hash of dataset.yaml, "" if there is none.
        label_form: As the task reads labels; see `read_label_column`.

    Raises:
        DatasetError: `invalid_parquet`, `exceeds_limit`, and everything wrong with rows.
        StorageError: No room for a temporary copy of the columns.
    """
    content = read_in_child(file, description, limits)
    log = ProblemLog(limits.max_bad_rows)
    log.extend(content.problems)
    columns = {column.name: column for column in content.columns}
    masks, without = columns.pop("label", None), content.missing.pop("label", None)
    cells = content.cells
    if masks is not None:
        label_form = _mask_form(label_form or description.labels.form)
        _note_without(without, log)
        cells = {**cells, "label": [None] * content.num_rows}
    # Where something is wrong there are no columns: then nothing is said of masks that may be fine.
    is_unread = bool(content.problems) and not cells.get("label")
    found = TextColumn("label", []) if is_unread else masks
    annotations = read_annotations(
        cells, content.num_rows, description, log, limits, label_form,
        None if found is None else lambda values, log: found,
    )  # fmt: skip
    if content.problems:
        note_missing(content.missing, annotations.splits, log)
        log.raise_if_any()
    return checked_table(
        annotations,
        columns,
        description,
        log,
        limits,
        sha256=identity("parquet", file.sha256(), sidecar_sha256),
        warnings=content.warnings,
        missing=content.missing,
    )


def _mask_form(wanted: LabelForm | None) -> LabelForm:
    """`mask`, which is what the labels are by their type.

    Raises:
        DatasetError: The task or dataset.yaml says that they are something else.
    """
    if wanted is not None and wanted != "mask":
        detail = f"the labels are masks, PNG bytes or rows of integers; the task reads {LABEL_WORDS[wanted]}"
        raise DatasetError(Problem("invalid_label", detail, "label"))
    return "mask"


def _note_without(rows: NDArray[np.bool_] | None, log: ProblemLog) -> None:
    """Notes the rows without a mask: every row must have one, as segmentation takes none without a label."""
    for row in [] if rows is None else np.flatnonzero(rows):
        log.add("invalid_label", "the label is missing; a mask is wanted", row=int(row) + 1, pointer="label")
