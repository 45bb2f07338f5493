"""One .npz or parquet file in a folder or archive, with the dataset.yaml that it has no place for.

It is opened as a file of its own, under the limits of such files. Nothing else in an archive is ever opened
as an archive, and what lies in the .npz itself is arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from fdkd_core.data.description import FILE_NAME as DESCRIPTION_NAME
from fdkd_core.data.description import Description, parse_description
from fdkd_core.data.limits import Limits
from fdkd_core.data.manifest import DEFAULT_NAMES, is_there
from fdkd_core.data.source import MemberSource, OpenFile
from fdkd_core.description_file import TABLE_SUFFIXES
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RowError

_MAX_ENTRIES = 256
"""Of an archive that holds one table: reading the list of a larger one would be for nothing."""
_MANIFEST_SUFFIXES = (".csv", ".jsonl")
_PAPERS = frozenset({"README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "CITATION", "CHANGELOG"})
"""What may lie beside the table, with any suffix."""
_LEFT_BY_SYSTEMS = frozenset({"Thumbs.db", "desktop.ini"})


class PackingSource(MemberSource, Protocol):
    """A folder or archive whose members can be opened without holding them in memory."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a member in pieces.

        Raises:
            RowError: As for `read`.
        """
        ...

    def open_member(self, name: str) -> OpenFile:
        """A member as a file of its own: where it lies, or unpacked to a temporary file.

        Raises:
            RowError: As for `read`.
            StorageError: No room for the temporary file.
        """
        ...


class PackedTable(NamedTuple):
    """The file that holds the table, and what goes with it."""

    file: OpenFile
    description: Description
    description_sha256: str
    """"" where there is no dataset.yaml: as for a file on its own, so that both are one data set."""
    limits: Limits
    """Those of the file: what it may unpack to is counted from the bytes of the archive."""


def packing_limits(limits: Limits) -> Limits:
    """Under which an archive is opened to look for a table: few members, of which one may be large."""
    return replace(
        limits,
        max_archive_entries=min(_MAX_ENTRIES, limits.max_archive_entries),
        max_member_bytes=limits.max_parquet_file_bytes,
        ratio_floor_bytes=limits.total_ratio_floor_bytes,
    )


def find_packed_table(
    source: PackingSource, limits: Limits, *, archive_bytes: int | None = None
) -> PackedTable | None:
    """The one table at the top, or in the one folder that everything was packed in.

    Args:
        source: Opened under limits that allow a large member.
        limits: Of the reading.
        archive_bytes: As the archive lies on the disk; None for a folder.

    Returns:
        None where the rows are in a manifest, or should be: whoever reads that says what is missing.

    Raises:
        DatasetError: `missing_file` where there are several tables, or files that nothing refers to; and
            what is wrong with dataset.yaml or the member.
        StorageError: No room for a temporary file.
    """
    if any(is_there(source, name) for name in DEFAULT_NAMES):
        return None
    # Before a folder is walked, which may be a large one.
    if is_there(source, DESCRIPTION_NAME) and _described(source, DESCRIPTION_NAME, limits)[0].manifest:
        return None
    names = [name for name in source.names() if not _is_hidden(name)]
    root = _only_folder(names)
    inside = [name.removeprefix(root) for name in names]
    tables = [name for name in inside if "/" not in name and name.lower().endswith(TABLE_SUFFIXES)]
    if not tables or any(name in DEFAULT_NAMES for name in inside):
        return None
    descriptions = [name for name in _description_names(tables) if name in inside]
    description, description_sha256 = Description(), ""
    if len(descriptions) == 1:
        description, description_sha256 = _described(source, root + descriptions[0], limits)
    others = [name for name in inside if name not in (*tables, *descriptions) and not _is_paper(name)]
    if description.manifest or any(name.lower().endswith(_MANIFEST_SUFFIXES) for name in others):
        return None
    if len(tables) > 1:
        raise _not_alone(
            f"{len(tables)} tables, {quote(tables[0], 60)} and {quote(tables[1], 60)} among them"
        )
    if others:
        raise _not_alone(f"{quote(others[0])} beside {quote(tables[0])}")
    if len(descriptions) > 1:
        detail = f"both {quote(descriptions[0])} and {quote(descriptions[1])} are there; one is wanted"
        raise DatasetError(Problem("invalid_description", detail))
    try:
        file = source.open_member(root + tables[0])
    except RowError as error:
        raise DatasetError(Problem(error.code, error.detail)) from error
    return PackedTable(file, description, description_sha256, _limits_left(limits, file, archive_bytes))


def _described(source: PackingSource, name: str, limits: Limits) -> tuple[Description, str]:
    """dataset.yaml and its hash. No more of it is unpacked than is read."""
    content = b""
    try:
        for piece in source.chunks(name):
            content += piece
            if len(content) > limits.max_description_bytes:
                break
    except RowError as error:
        raise DatasetError(Problem(error.code, error.detail)) from error
    return parse_description(content, limits), hashlib.sha256(content).hexdigest()


def _limits_left(limits: Limits, file: OpenFile, archive_bytes: int | None) -> Limits:
    """An archive in an archive would otherwise multiply the ratio that each of them may have."""
    if archive_bytes is None:
        return limits
    ratio = limits.max_ratio * archive_bytes // max(1, archive_bytes, file.num_bytes)
    return replace(limits, max_ratio=max(1, ratio))


def _description_names(tables: list[str]) -> list[str]:
    """The usual name, and that of a file on its own: a folder may be packed as it is."""
    return [DESCRIPTION_NAME, *(f"{PurePosixPath(name).stem}.{DESCRIPTION_NAME}" for name in tables)]


def _only_folder(names: list[str]) -> str:
    """With its slash; "" where something lies at the top, or there are several."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _is_hidden(name: str) -> bool:
    """Whether it is none of the user's making: macOS packs its notes on files beside them."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)


def _is_paper(name: str) -> bool:
    return "/" not in name and (name.partition(".")[0].upper() in _PAPERS or name in _LEFT_BY_SYSTEMS)


def _not_alone(found: str) -> DatasetError:
    detail = (
        f"there is no manifest.csv or manifest.jsonl at the top, but {found}: without a manifest, one .npz "
        f"or .parquet file is read, which has only {DESCRIPTION_NAME} and a README beside it"
    )
    return DatasetError(Problem("missing_file", detail))
