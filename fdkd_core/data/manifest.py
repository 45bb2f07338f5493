"""A folder or archive with a manifest: `id, split, label`, then a column per modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.annotations import read_annotations
from fdkd_core.data.cells import Cells
from fdkd_core.data.checked_table import checked_table, identity
from fdkd_core.data.column_names import column_names
from fdkd_core.data.columns import FileColumn, TextColumn
from fdkd_core.data.csv_rows import parse_csv
from fdkd_core.data.description import FILE_NAME as DESCRIPTION_NAME
from fdkd_core.data.description import Description, parse_description
from fdkd_core.data.jsonl_rows import parse_jsonl
from fdkd_core.data.limits import Limits
from fdkd_core.data.names import refusal_of_name, spellings, without_dot
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import MemberSource
from fdkd_core.data.table import Table
from fdkd_core.description_file import TABLE_SUFFIXES
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RawColumn, RowError
from fdkd_core.spec.tasks import LabelForm

DEFAULT_NAMES = ("manifest.csv", "manifest.jsonl")

_ALWAYS_FILES = frozenset({"image", "depth", "audio"})
"""Kinds whose values cannot be written into a cell."""
_MEDIA_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    | {".wav", ".flac", ".mp3", ".ogg", ".mp4", ".npy", ".npz", ".txt", ".json", ".csv"}
)
"""Suffixes that make a cell look like a path. Not all can be decoded, but none is a sentence."""
_FILE_FRAC = 0.5
"""A column is one of files when at least this share of its cells is; the others are then bad rows. Half is
enough, for no text consists of the names of files that are there."""
_NUM_SAMPLES = 1_000
_NESTED_SUFFIXES = (".zip", ".tar", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tgz")


def read_manifest(
    source: MemberSource,
    *,
    manifest: str | None,
    limits: Limits,
    description: Description | None = None,
    sidecar_sha256: str = "",
    label_form: LabelForm | None = "class",
) -> Table:
    """Reads a data set whose rows are in a manifest. Files are looked up, not read.

    Paths are relative to the folder that holds the manifest's default place: the top, or the one folder that
    everything was packed in.

    Args:
        source: Folder, archive or lone manifest.
        manifest: Name of the manifest; None for what dataset.yaml says, else manifest.csv or manifest.jsonl.
        limits: Sizes allowed.
        description: For a lone manifest, whose dataset.yaml lies beside it; else it is read from the source.
        sidecar_sha256: Hash of that dataset.yaml.
        label_form: As the task reads labels; see `read_label_column`.

    Raises:
        DatasetError: With every problem found, `row` counting from 1 below the header.
    """
    root = _root(source, manifest)
    members = set()
    if description is None:
        description = Description()
        if is_there(source, root + DESCRIPTION_NAME):
            members.add(root + DESCRIPTION_NAME)
            description = parse_description(_read(source, root + DESCRIPTION_NAME), limits)
    name = _manifest_name(source, root, manifest or description.manifest, limits)
    content = _read(source, root + name)
    if len(content) > limits.max_manifest_bytes:
        raise DatasetError(
            Problem(
                "exceeds_limit",
                f"{quote(name)} has {len(content)} bytes or more; {limits.max_manifest_bytes} are allowed",
            )
        )
    log = ProblemLog(limits.max_bad_rows)
    is_csv = name.lower().endswith(".csv")
    cells = parse_csv(content, log, limits) if is_csv else parse_jsonl(content, log, limits)
    missing: dict[str, NDArray[np.bool_]] = {}
    columns, annotations_cells, warnings = _columns(cells, source, root, description, log, limits, missing)
    annotations = read_annotations(
        annotations_cells,
        cells.num_rows,
        description,
        log,
        limits,
        label_form,
        lambda values, log: _mask_files(values, _Finder(source, root, limits), log),
    )
    for column in (*columns.values(), annotations.labels.mask_files):
        if isinstance(column, FileColumn):
            members.update(member for member in column.members if member)
    # Hashing reads all of a folder, which is not worth it for data that is going to be refused.
    content_sha256 = "" if log else source.sha256({*members, root + name})
    return checked_table(
        annotations,
        columns,
        description,
        log,
        limits,
        sha256=identity("manifest", name, content_sha256, sidecar_sha256),
        warnings=[*cells.warnings, *warnings],
        missing=missing,
    )


def _root(source: MemberSource, manifest: str | None) -> str:
    """The folder that paths are relative to, with its slash: the top, or the one folder of an archive."""
    known = (*DEFAULT_NAMES, DESCRIPTION_NAME, *([manifest] if manifest else ()))
    if any(is_there(source, name) for name in known):
        return ""
    tops = {
        top + "/"
        for top, slash, rest in (name.partition("/") for name in source.names())
        if slash and rest in known
    }
    return tops.pop() if len(tops) == 1 else ""


def is_there(source: MemberSource, name: str) -> bool:
    """Also true for what is there but refused: its error is better than that nothing was found."""
    refused = source.refusal(name)
    return refused is None or refused.code != "missing_file"


def _manifest_name(source: MemberSource, root: str, asked: str | None, limits: Limits) -> str:
    if asked is not None:
        asked = without_dot(asked)
        reason = refusal_of_name(asked, limits.max_name_chars)
        if reason is not None:
            raise DatasetError(Problem("unsafe_entry", f"the manifest's name {quote(asked)} {reason}"))
        if not asked.lower().endswith((".csv", ".jsonl")):
            raise DatasetError(
                Problem("unsupported_format", f"the manifest {quote(asked)} must be .csv or .jsonl")
            )
        return asked
    present = [name for name in DEFAULT_NAMES if is_there(source, root + name)]
    if len(present) > 1:
        raise DatasetError(
            Problem(
                "invalid_description",
                f"both {' and '.join(present)} are there; choose with `manifest` in {DESCRIPTION_NAME}",
            )
        )
    if not present:
        raise _no_manifest(source.names())
    return present[0]


def _no_manifest(names: Sequence[str]) -> DatasetError:
    tables = [name for name in names if name.lower().endswith((".csv", ".jsonl"))]
    deeper = [name for name in names if name.lower().endswith(TABLE_SUFFIXES)]
    hint = ", nor one .npz or .parquet file"
    if tables:
        hint = f"; is it {quote(tables[0])}? Then name it in {DESCRIPTION_NAME}"
    elif deeper:
        hint = f"; is it {quote(deeper[0])}? Then put that file at the top"
    problems = [Problem("missing_file", f"there is no manifest.csv or manifest.jsonl at the top{hint}")]
    nested = [name for name in names if name.lower().endswith(_NESTED_SUFFIXES)]
    if nested:
        problems.append(
            Problem("unsafe_entry", f"archives inside archives, such as {quote(nested[0])}, are never opened")
        )
    return DatasetError(problems)


def _read(source: MemberSource, name: str) -> bytes:
    try:
        return source.read(name)
    except RowError as error:
        raise DatasetError(Problem(error.code, error.detail)) from error


def _columns(
    cells: Cells,
    source: MemberSource,
    root: str,
    description: Description,
    log: ProblemLog,
    limits: Limits,
    missing: dict[str, NDArray[np.bool_]],
) -> tuple[dict[str, RawColumn], dict[str, list[object]], list[str]]:
    """The modalities, all columns by name, and lines for the report; fills in `missing`."""
    by_name = dict(zip(cells.names, cells.columns, strict=True))
    found = column_names(cells.names, description, log)
    for annotation, name in found.written.items():
        by_name[annotation] = by_name.pop(name)
    kinds = description.kinds()
    columns: dict[str, RawColumn] = {}
    for name in found.modalities:
        texts = _texts(by_name[name])
        missing[name] = np.array([not text for text in texts], dtype=bool)
        finder = _Finder(source, root, limits)
        if kinds.get(name) in _ALWAYS_FILES or finder.are_files(texts):
            columns[name] = FileColumn(name, source, finder.members(name, texts, log))
        else:
            columns[name] = TextColumn(name, texts)
    return columns, by_name, found.warnings


def _mask_files(values: Sequence[object], finder: _Finder, log: ProblemLog) -> FileColumn:
    """The masks that the label column names; every row must have one."""
    texts = _texts(values)
    for row, text in enumerate(texts, start=1):
        if not text:
            log.add("invalid_label", "the label is missing; a file is wanted", row=row, pointer="label")
    return FileColumn("label", finder.source, finder.members("label", texts, log))


def _texts(cells: Sequence[object]) -> list[str]:
    """The cells as text, "" for those without a value."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    return [text if text.strip() else "" for text in texts]


class _Finder:
    """Looks up the members that cells name, each cell once."""

    def __init__(self, source: MemberSource, root: str, limits: Limits) -> None:
        self.source = source
        self._root = root
        self._limits = limits
        self._found: dict[str, str | RowError] = {}

    def are_files(self, texts: Sequence[str]) -> bool:
        """Whether nearly all cells name a member, or look as if they should."""
        unique = [text for text in dict.fromkeys(texts) if text]
        sample = unique[:: max(1, len(unique) // _NUM_SAMPLES)]
        likely = sum(self._looks_like_path(text) or isinstance(self.find(text), str) for text in sample)
        return bool(sample) and likely >= _FILE_FRAC * len(sample)

    def members(self, name: str, texts: Sequence[str], log: ProblemLog) -> list[str]:
        """The member of each row, "" where it is missing, which is noted."""
        members = []
        for row, text in enumerate(texts, start=1):
            found = self.find(text) if text else ""
            if isinstance(found, RowError):
                log.add(found.code, found.detail, row=row, pointer=name)
                found = ""
            members.append(found)
        return members

    def find(self, text: str) -> str | RowError:
        """The member that a cell names, or why there is none."""
        if text not in self._found:
            self._found[text] = self._look_up(text)
        return self._found[text]

    def _look_up(self, text: str) -> str | RowError:
        path = without_dot(text.strip())
        reason = refusal_of_name(path, self._limits.max_name_chars)
        if reason is not None:
            return RowError("unsafe_entry", f"the path {quote(path)} {reason}")
        refused: RowError | None = None
        for spelling in spellings(path):
            refused = self.source.refusal(self._root + spelling)
            if refused is None:
                return self._root + spelling
        assert refused is not None
        return refused

    def _looks_like_path(self, text: str) -> bool:
        return (
            len(text) <= self._limits.max_name_chars
            and "\n" not in text
            and PurePosixPath(text.strip().lower()).suffix in _MEDIA_SUFFIXES
        )
