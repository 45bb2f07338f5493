"""The one way into a data set: from a path to a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from fdkd_core.data.description import Description, parse_description
from fdkd_core.data.folder import FolderSource
from fdkd_core.data.formats import HEAD_BYTES, identify
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.manifest import read_manifest
from fdkd_core.data.npz import is_npz, open_npz, read_npz
from fdkd_core.data.packed_table import PackedTable, PackingSource, find_packed_table, packing_limits
from fdkd_core.data.parquet import read_parquet
from fdkd_core.data.source import OpenFile, SingleFile, open_regular
from fdkd_core.data.table import Table
from fdkd_core.data.tar_archive import TarSource, unpacked_tar
from fdkd_core.data.zip_archive import ZipSource
from fdkd_core.description_file import beside
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.spec.tasks import LabelForm


def read_table(
    path: str | os.PathLike[str],
    *,
    manifest: str | None = None,
    label_form: LabelForm | None = "class",
    limits: Limits = DEFAULT,
) -> Table:
    """Reads a data set up to the point where values would be decoded.

    The format is told by the file's first bytes. Files behind a manifest stay where they are until a column
    is asked for them; the archive is closed when the table is no longer referred to. A missing validation
    split stays missing: see `splits.cut_validation`.

    Args:
        path: A folder, .zip or .tar (also .gz, .bz2, .xz) with a manifest, or with one .npz or .parquet file
            and nothing else (see `find_packed_table`), and perhaps a dataset.yaml; an .npz or .parquet file,
            or a lone .csv or .jsonl manifest, with perhaps a `<stem>.dataset.yaml` beside it.
        manifest: Name of the manifest inside, before what dataset.yaml says.
        label_form: As the task reads labels; None for what dataset.yaml says, or what they look like.
        limits: What the data may cost.

    Returns:
        The table. Its `sha256` depends on content and names alone, not on times.

    Raises:
        DatasetError: With all problems found, each with its code, and its row where it has one.
        StorageError: A compressed tar, or a table out of an archive, does not fit on the disk.
    """
    path = Path(path)
    in_manifest = partial(read_manifest, manifest=manifest, limits=limits, label_form=label_form)
    if path.is_dir():
        large_too = replace(limits, max_member_bytes=limits.max_parquet_file_bytes)
        packed = None if manifest else find_packed_table(FolderSource(path, large_too), limits)
        return in_manifest(FolderSource(path, limits)) if packed is None else _read_packed(packed, label_form)
    file = open_regular(path)
    found = identify(file.read_at(0, HEAD_BYTES), path.name)
    if found == "zip":
        return _read_zip(path, file, manifest, limits, label_form)
    if found in ("tar", "gzip", "bzip2", "xz"):
        compression = None if found == "tar" else found
        plain = unpacked_tar(file, compression, limits)
        opened = partial(TarSource, file, compression, plain=plain)
        packed = None if manifest else _packed_in_archive(opened, file, limits)
        return in_manifest(opened(limits)) if packed is None else _read_packed(packed, label_form)
    description, sidecar_sha256 = _sidecar(path, limits)
    if found == "parquet":
        _refuse_manifest(manifest)
        return read_parquet(file, description, limits, sidecar_sha256=sidecar_sha256, label_form=label_form)
    return read_manifest(
        SingleFile(file, limits),
        manifest=path.name,
        limits=limits,
        description=description,
        sidecar_sha256=sidecar_sha256,
        label_form=label_form,
    )


def _read_zip(
    path: Path, file: OpenFile, manifest: str | None, limits: Limits, label_form: LabelForm | None
) -> Table:
    arrays = _opened_npz(path, file, limits)
    if arrays is None:
        packed = None if manifest else _packed_in_archive(partial(ZipSource, file), file, limits)
        if packed is not None:
            return _read_packed(packed, label_form)
        return read_manifest(ZipSource(file, limits), manifest=manifest, limits=limits, label_form=label_form)
    _refuse_manifest(manifest)
    description, sidecar_sha256 = _sidecar(path, limits)
    return read_npz(arrays, description, limits, sidecar_sha256=sidecar_sha256, label_form=label_form)


def _opened_npz(path: Path, file: OpenFile, limits: Limits) -> ZipSource | None:
    """The zip as an .npz, if it is one. Stored uploads have no suffix, so the content decides."""
    if path.suffix.lower() == ".npz":
        return open_npz(file, limits)
    try:
        source = open_npz(file, limits)
    except DatasetError:  # say too many members; whoever reads it as an archive reports what is wrong
        return None
    return source if is_npz(source) else None


def _packed_in_archive(
    opened: Callable[[Limits], PackingSource], file: OpenFile, limits: Limits
) -> PackedTable | None:
    try:
        source = opened(packing_limits(limits))
    except DatasetError:  # as for `_opened_npz`
        return None
    return find_packed_table(source, limits, archive_bytes=file.num_bytes)


def _read_packed(packed: PackedTable, label_form: LabelForm | None) -> Table:
    file, description, sha256, limits = packed
    if identify(file.read_at(0, HEAD_BYTES), file.name) == "parquet":
        return read_parquet(file, description, limits, sidecar_sha256=sha256, label_form=label_form)
    arrays = open_npz(file, limits)
    return read_npz(arrays, description, limits, sidecar_sha256=sha256, label_form=label_form)


def _refuse_manifest(manifest: str | None) -> None:
    if manifest is not None:
        raise DatasetError(
            Problem(
                "missing_file", f"there is no manifest {quote(manifest)}: the file holds the table itself"
            )
        )


def _sidecar(path: Path, limits: Limits) -> tuple[Description, str]:
    """The `<stem>.dataset.yaml` beside a file and its hash, or an empty description and ""."""
    sidecar = beside(path)
    if not os.path.lexists(sidecar):
        return Description(), ""
    content = open_regular(sidecar).read_at(0, limits.max_description_bytes + 1)
    return parse_description(content, limits), hashlib.sha256(content).hexdigest()
