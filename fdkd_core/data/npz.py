"""One .npz: an array per modality, and `label`, `split`, `id`, `group`, `class_names`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.annotations import read_annotations
from fdkd_core.data.checked_table import checked_table, identity
from fdkd_core.data.column_names import column_names
from fdkd_core.data.columns import ArrayColumn, TextColumn
from fdkd_core.data.description import Description
from fdkd_core.data.finite_values import check_finite
from fdkd_core.data.limits import Limits
from fdkd_core.data.npy import START_BYTES, NpyHeader, check_size, parse_npy, parse_npy_header
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.data.table import Table
from fdkd_core.data.zip_archive import ZipSource
from fdkd_core.description_file import WHERE
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.base import RawColumn, RowError
from fdkd_core.spec.tasks import LabelForm

_SUFFIX = ".npy"
_CLASS_NAMES = "class_names"
_ONE_A_ROW = ("class", "identity")


def is_npz(source: ZipSource) -> bool:
    """Whether a zip holds arrays and nothing else."""
    names = source.names()
    return bool(names) and all("/" not in name and name.endswith(_SUFFIX) for name in names)


def open_npz(file: OpenFile, limits: Limits) -> ZipSource:
    """Opens the zip under the limits that suit arrays: few large members instead of many small ones.

    Raises:
        DatasetError: As `ZipSource` does.
    """
    return ZipSource(
        file,
        replace(
            limits,
            max_archive_entries=limits.max_columns,
            max_member_bytes=limits.max_table_bytes,
            max_total_bytes=limits.max_table_bytes,
            ratio_floor_bytes=limits.total_ratio_floor_bytes,
        ),
    )


def read_npz(
    source: ZipSource,
    description: Description,
    limits: Limits,
    *,
    sidecar_sha256: str,
    label_form: LabelForm | None = "class",
) -> Table:
    """Reads all arrays. Nothing is ever unpickled, and no array is allocated before its header was checked.

    Args:
        source: The opened .npz.
        description: dataset.yaml, or an empty one.
        limits: Sizes allowed.
        sidecar_sha256: Hash of dataset.yaml, "" if there is none.
        label_form: As the task reads labels; see `read_label_column`. Of a label array with two axes, rows of
            zeros and ones are sets of classes, and others are numbers; integers of three axes are masks.

    Raises:
        DatasetError: `invalid_npz` for arrays that cannot be used, `invalid_values` with the rows of NaN and
            infinity, and everything wrong with labels, splits and ids.
    """
    headers = _headers(source, limits)
    log = ProblemLog(limits.max_bad_rows)
    found = column_names([name for name in headers if name != _CLASS_NAMES], description, log)
    headers |= {annotation: headers.pop(name) for annotation, name in found.written.items()}
    label_form = _mask_form(headers, label_form or description.labels.form) or label_form
    num_rows = _num_rows(headers, limits, label_form)
    warnings = found.warnings
    annotation_names = {"id", "split", "label", "group", description.group or "group"} & headers.keys()
    cells: dict[str, list[object]] = {name: [] for name in headers if name != _CLASS_NAMES}
    masks: list[ArrayColumn] = []
    for name in sorted(annotation_names):
        member = found.written.get(name, name)
        if name == "label" and label_form == "mask":
            masks.append(ArrayColumn(name, _array(source, member)))
            cells[name] = [None] * num_rows
        elif headers[name].shape != (num_rows,) and name != "label":
            log.add(
                "invalid_npz",
                f"the array {quote(name)} has the shape {headers[name].shape}; {(num_rows,)} is wanted",
                pointer=name,
            )
            cells[name] = [None] * num_rows
        else:
            array = _array(source, member)
            cells[name] = _label_rows(array, label_form) if array.ndim == 2 else _as_list(name, array, log)
    log.raise_if_any()  # the arrays below are large; do not read them for nothing
    annotations = read_annotations(
        cells, num_rows, description, log, limits, label_form, lambda values, log: masks[0]
    )
    columns: dict[str, RawColumn] = {}
    missing: dict[str, NDArray[np.bool_]] = {}
    for name in found.modalities:
        column = _column(source, name, headers[name], num_rows, log, warnings, limits)
        if column is not None:
            columns[name] = column
        if isinstance(column, TextColumn):  # an array has a value in every row
            missing[name] = np.array([not text.strip() for text in column.values], dtype=bool)
    class_names = None
    if _CLASS_NAMES in headers:
        class_names = _as_list(_CLASS_NAMES, _array(source, _CLASS_NAMES).reshape(-1), log)
    return checked_table(
        annotations,
        columns,
        description,
        log,
        limits,
        sha256=identity("npz", source.sha256([]), sidecar_sha256),
        warnings=warnings,
        class_names=class_names,
        missing=missing,
    )


def _headers(source: ZipSource, limits: Limits) -> dict[str, NpyHeader]:
    log = ProblemLog(limits.max_bad_rows)
    headers: dict[str, NpyHeader] = {}
    for member in source.names():
        name = member.removesuffix(_SUFFIX)
        if not member.endswith(_SUFFIX):
            log.add(
                "invalid_npz", f"the member {quote(member)} is not an array: an .npz holds .npy files only"
            )
            continue
        try:
            header = parse_npy_header(source.read_start(member, START_BYTES), limits)
            check_size(header, source.unpacked_bytes(member))
        except RowError as error:
            code = "invalid_npz" if error.code == "invalid_npy" else error.code
            log.add(code, f"the array {quote(name)}: {error.detail}", pointer=name)
        else:
            headers[name] = header
    log.raise_if_any()
    return headers


def _mask_form(headers: dict[str, NpyHeader], form: LabelForm | None) -> LabelForm | None:
    """`mask` where that is what the labels are, or what they are to be; else None, which says nothing."""
    label = headers.get("label")
    if form == "mask":
        return "mask"
    is_mask = label is not None and len(label.shape) == 3 and label.dtype.kind in "iu"
    return "mask" if form is None and is_mask else None


def _num_rows(headers: dict[str, NpyHeader], limits: Limits, label_form: LabelForm | None) -> int:
    label = headers.get("label")
    if label is None:
        found = ", ".join(quote(name, 40) for name in list(headers)[:8]) or "none"
        raise DatasetError(
            Problem("missing_column", f"there is no array `label`; there are {found}", pointer="label")
        )
    if label_form == "mask":
        if len(label.shape) != 3 or label.dtype.kind not in "biu" or 0 in label.shape[1:]:
            detail = f"`label` has the shape {label.shape} of {label.dtype}; masks are integers [rows, H, W]"
            raise DatasetError(Problem("invalid_label", detail, pointer="label"))
        if label.shape[0] > limits.max_rows:
            detail = f"{label.shape[0]} rows; {limits.max_rows} are allowed"
            raise DatasetError(Problem("exceeds_limit", detail, pointer="label"))
        return label.shape[0]
    wanted = "one class per row is wanted, not one-hot vectors"
    if label_form not in _ONE_A_ROW:
        wanted = "one label per row is wanted, or a row of them"
    is_matrix = (
        len(label.shape) == 2 and label.dtype.kind in "biuf" and 0 < label.shape[1] <= limits.max_classes
    )
    if len(label.shape) != 1 and not (is_matrix and label_form not in _ONE_A_ROW):
        detail = f"`label` has the shape {label.shape}; {wanted}"
        raise DatasetError(Problem("invalid_label", detail, pointer="label"))
    if label.shape[0] > limits.max_rows:
        raise DatasetError(
            Problem("exceeds_limit", f"{label.shape[0]} rows; {limits.max_rows} are allowed", pointer="label")
        )
    if math.prod(label.shape) > limits.max_label_values:
        detail = f"{math.prod(label.shape)} labels; {limits.max_label_values} are allowed"
        raise DatasetError(Problem("exceeds_limit", detail, pointer="label"))
    return label.shape[0]


def _label_rows(array: NDArray[Any], form: LabelForm | None) -> list[object]:
    """The labels of an array with two axes: indexes of the classes that apply, or the numbers as they are."""
    is_indicator = (array.dtype.kind in "biu" or form == "classes") and bool(
        ((array == 0) | (array == 1)).all()
    )
    if form == "numbers" or not is_indicator:
        return [row.astype(np.float64).tolist() for row in array]
    return [np.flatnonzero(row).tolist() for row in array]


def _array(source: ZipSource, name: str) -> NDArray[Any]:
    try:
        return parse_npy(source.read(name + _SUFFIX))
    except RowError as error:
        raise DatasetError(
            Problem("invalid_npz", f"the array {quote(name)}: {error.detail}", pointer=name)
        ) from error


def _as_list(name: str, array: NDArray[Any], log: ProblemLog) -> list[object]:
    """Python values, with None for text that is no text."""
    try:
        values: list[object] = array.tolist()
    except (ValueError, SystemError):  # numpy keeps any 32 bits as a character
        log.add("invalid_npz", f"the array {quote(name)} holds characters that do not exist", pointer=name)
        return [None] * len(array)
    return values


def _column(
    source: ZipSource,
    name: str,
    header: NpyHeader,
    num_rows: int,
    log: ProblemLog,
    warnings: list[str],
    limits: Limits,
) -> RawColumn | None:
    if header.shape[:1] != (num_rows,):
        if len(header.shape) < 2:
            warnings.append(
                f"the array {quote(name)} of shape {header.shape} is passed over: not one value a row"
            )
        else:
            log.add(
                "invalid_npz",
                f"the array {quote(name)} has {header.shape[0]} rows but `label` has {num_rows}; if it is no "
                f"modality, list it under `ignore` of {WHERE}",
                pointer=name,
            )
        return None
    is_text = header.dtype.kind == "U"
    if is_text and len(header.shape) != 1:
        log.add(
            "invalid_npz",
            f"the text array {quote(name)} has {len(header.shape)} axes; 1 is wanted",
            pointer=name,
        )
        return None
    if is_text:
        if header.dtype.itemsize // 4 > limits.max_cell_chars:
            log.add("exceeds_limit", f"texts of {quote(name)} may exceed {limits.max_cell_chars} characters")
            return None
        return TextColumn(name, _texts(name, _array(source, name), log))
    array = _array(source, name)
    if array.ndim == 1:  # one number a row is a vector of length 1
        array = array.reshape(num_rows, 1)
    if array.size == 0 and num_rows:
        log.add(
            "invalid_npz", f"the array {quote(name)} has the shape {array.shape}: no values", pointer=name
        )
    check_finite(name, array, log)
    return ArrayColumn(name, array)


def _texts(name: str, array: NDArray[Any], log: ProblemLog) -> list[str]:
    texts = []
    for row, value in enumerate(_as_list(name, array, log), start=1):
        text = value if isinstance(value, str) else ""
        if not text.isascii() and any(0xD800 <= ord(character) < 0xE000 for character in text):
            log.add(
                "invalid_values", f"{quote(name)} contains half of a surrogate pair", row=row, pointer=name
            )
        texts.append(text)
    return texts
