"""One parquet file: a column per modality, and `label`, `split`, `id`, `group`."""

from __future__ import annotations

from fdkd_core.data.annotations import read_annotations
from fdkd_core.data.checked_table import checked_table, identity
from fdkd_core.data.description import Description
from fdkd_core.data.limits import Limits
from fdkd_core.data.missing_values import note_missing
from fdkd_core.data.parquet_process import read_in_child
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.data.table import Table
from fdkd_core.spec.tasks import LabelForm


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
    Columns of other types are left out, and reported.

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
    annotations = read_annotations(content.cells, content.num_rows, description, log, limits, label_form)
    if content.problems:
        note_missing(content.missing, annotations.splits, log)
        log.raise_if_any()
    return checked_table(
        annotations,
        {column.name: column for column in content.columns},
        description,
        log,
        limits,
        sha256=identity("parquet", file.sha256(), sidecar_sha256),
        warnings=content.warnings,
        missing=content.missing,
    )
