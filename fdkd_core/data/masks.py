"""Labels that are masks: a class of each pixel. What may be one, at what size they are learnt, which classes.

A mask is a picture of one channel whose values are class indexes; `VOID` marks pixels without a label. It
shows the same scene as the pictures of its row, so that it has their proportions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.columns import ArrayColumn
from fdkd_core.data.decoding import DecoderPool, DistinctValues, Progress, decode_column
from fdkd_core.data.labels import LabelIndex
from fdkd_core.data.limits import Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.table import Table
from fdkd_core.description_file import WHERE
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.arrays import NPY_MAGIC, read_array
from fdkd_core.modalities.base import RawColumn, RawValue, Recipe, RowError
from fdkd_core.modalities.image_header import ImageHeader, check_pixels, read_image_header
from fdkd_core.modalities.picture import choose_size, open_picture
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.dense import PICTURE_KINDS
from fdkd_core.spec.tasks import VOID

_INDEX_MODES = ("L", "P", "1")
"""Pillow's names of pictures whose values stay as stored: gray of 8 bits, palette, black and white."""


def mask_size(raw: RawValue) -> tuple[int, int]:
    """Height and width, from the header or the array; nothing is decoded.

    Raises:
        RowError: It is no mask.
    """
    if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
        header = _read_header(raw)
        return header.height, header.width
    height, width = _plane(read_array(raw)).shape
    return height, width


def decode_mask(raw: RawValue, recipe: Recipe) -> NDArray[np.uint8]:
    """Class indexes, uint8 [H, W] of the recipe's `input_shape`; by nearest pixel, for classes have no mean.

    Raises:
        RowError: It is no mask, or broken.
    """
    if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
        picture = open_picture(raw, _read_header(raw))
        if picture.mode not in _INDEX_MODES:
            raise _no_indexes(f"a PNG of mode {picture.mode}")
        plane: NDArray[Any] = np.asarray(picture).astype(np.uint8)
    else:
        plane = _plane(read_array(raw))
        if plane.min() < 0 or plane.max() > VOID:
            found = int(plane.min() if plane.min() < 0 else plane.max())
            raise RowError(
                "invalid_label", f"masks hold class indexes 0 to 254, and {VOID} for none: {found}"
            )
    height, width = recipe["input_shape"]
    if plane.shape != (height, width):
        rows = ((np.arange(height) + 0.5) * (plane.shape[0] / height)).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * (plane.shape[1] / width)).astype(np.int64)
        plane = plane[rows][:, columns]
    return np.ascontiguousarray(plane.astype(np.uint8))


def _read_header(raw: bytes) -> ImageHeader:
    header = read_image_header(raw)
    # Pillow spreads gray of 2 and 4 bits over 0 to 255, and keeps the indexes of palettes.
    if header.format != "PNG":
        raise _no_indexes(f"a {header.format}, whose values are not exact")
    if header.has_alpha or header.bit_depth == 16 or (header.is_gray and header.bit_depth in (2, 4)):
        what = "with transparency" if header.has_alpha else f"of {header.bit_depth} bits"
        raise _no_indexes(f"a PNG {what}")
    return header


def _no_indexes(found: str) -> RowError:
    detail = f"masks are PNG of class indexes, in one channel of 8 bits or with a palette; found {found}"
    return RowError("unsupported_format", detail)


def _plane(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biu":
        detail = f"found {array.dtype} of shape {array.shape}; masks are integers (H, W)"
        raise RowError("invalid_label", detail)
    check_pixels(array.shape[1], array.shape[0])
    return array


def with_masks(
    table: Table,
    train_rows: NDArray[np.int64],
    *,
    pool: DecoderPool,
    cache_dir: Path | None,
    progress: Progress | None,
    limits: Limits,
) -> tuple[Table, dict[str, Any]]:
    """The table with its masks decoded, where it has some, and what the report says of their size.

    Args: as `decode_masks`, which says what is raised.
    """
    files = table.labels.mask_files
    if files is None:
        return table, {}
    masks, note = decode_masks(
        files,
        train_rows.tolist(),
        table.labels.mask_size,
        pool=pool,
        cache_dir=cache_dir,
        progress=progress,
        limits=limits,
    )
    described = {"mask_shape": list(masks.shape[1:]), "mask_note": note}
    return replace(table, labels=replace(table.labels, masks=masks)), described


def decode_masks(
    column: RawColumn,
    train_rows: Sequence[int],
    size: int | list[int] | None,
    *,
    pool: DecoderPool,
    cache_dir: Path | None,
    progress: Progress | None,
    limits: Limits,
) -> tuple[NDArray[np.uint8], str]:
    """All masks at one size, and why that size.

    Args:
        column: One mask a row.
        train_rows: Those that decide the size, by the rule of pictures, so that both are of one size where
            they come so.
        size: What dataset.yaml says.
        pool: Children that decode.
        cache_dir: As for modalities.
        progress: Called now and then.
        limits: `max_mask_values` and `max_bad_rows` apply.

    Returns:
        uint8 [rows, H, W].

    Raises:
        DatasetError: Bad rows; `exceeds_limit`.
        StorageError: No room.
    """
    facts, log = [], ProblemLog(limits.max_bad_rows)
    for row in train_rows:
        try:
            height, width = mask_size(column.read(row))
        except RowError as error:
            log.add(error.code, error.detail, row=row + 1, pointer="label")
            continue
        facts.append({"height": height, "width": width})
        if isinstance(column, ArrayColumn):
            break  # all of one shape
    log.raise_if_any()
    height, width, why = choose_size(size, facts)
    if len(column) * height * width > limits.max_mask_values:
        detail = (
            f"{len(column)} masks of {height} x {width} pixels; {limits.max_mask_values} pixels are allowed: "
            f"a smaller `labels: {{size: ...}}` in {WHERE}"
        )
        raise DatasetError(Problem("exceeds_limit", detail, "label"))
    # As pictures are decoded: in limited children, where they are files.
    recipe = {"kind": "image", "input_shape": [height, width]}
    distinct = DistinctValues(column)
    data = decode_column(
        column,
        recipe,
        pool=pool,
        cache_dir=cache_dir,
        progress=progress,
        distinct=distinct,
        decode=decode_mask,
    )
    in_order = len(data.values) == len(data.index)
    return (data.values if in_order else data.values[data.index]), why.replace("picture", "mask")


def index_masks(
    masks: NDArray[np.uint8], splits: Sequence[str], class_names: Sequence[str] | None, limits: Limits
) -> LabelIndex:
    """The classes of masks: those that have names, else 0 to the largest index in training.

    Args:
        masks: [rows, H, W].
        splits: One per row.
        class_names: Names by index.
        limits: `max_bad_rows` applies.

    Raises:
        DatasetError: `invalid_label` for indexes without a name, or beyond training's; `dataset_too_small`
            for fewer than two classes.
    """
    counts = np.stack([np.bincount(mask.reshape(-1), minlength=VOID + 1) for mask in masks])
    counts, void = counts[:, :VOID], counts[:, VOID]
    is_train = np.array([split == "train" for split in splits], dtype=bool)
    trained = np.flatnonzero(counts[is_train].sum(axis=0))
    largest = int(trained[-1]) if len(trained) else 0
    count = largest + 1 if class_names is None else min(len(class_names), VOID)
    if len(trained) < 2:
        detail = f"the training masks have {len(trained)} classes; at least 2 are needed"
        detail += f" ({VOID} is no class, but marks pixels without a label)" if void.any() else ""
        raise DatasetError(Problem("dataset_too_small", detail, "label"))
    log = ProblemLog(limits.max_bad_rows)
    for row in np.flatnonzero(counts[:, count:].any(axis=1)):
        found = int(np.flatnonzero(counts[row])[-1])
        what = f"there are {count} class names" if class_names is not None else f"training has 0 to {largest}"
        log.add(
            "invalid_label", f"the mask holds the class {found}; {what}", row=int(row) + 1, pointer="label"
        )
    log.raise_if_any()
    classes = [str(index) for index in range(count)] if class_names is None else list(class_names[:count])
    warnings = []
    unused = [name for index, name in enumerate(classes) if index not in trained]
    if unused:
        listed = ", ".join(quote(name) for name in unused[:10])
        warnings.append(f"{len(unused)} classes have no pixel in training, and cannot be learnt: {listed}")
    empty = int((void == masks[0].size).sum())
    if empty:
        warnings.append(
            f"{empty} masks have no labelled pixel: nothing is learnt from them or measured on them"
        )
    return LabelIndex(classes, masks, warnings)


def refuse_other_proportions(
    masks: RawColumn, pictures: Iterable[tuple[RawColumn, KindName]], limits: Limits
) -> dict[str, list[float]]:
    """Refuses rows whose mask cannot lie over their pictures; returns the proportions that it saw.

    Each is scaled as a whole to the size at which it is learnt, so that other proportions mean another cut.

    Args:
        masks: One a row.
        pictures: The modalities; those of other kinds are passed over, as are values that cannot be read or
            are not there, which decoding reports.
        limits: `max_bad_rows` applies.

    Returns:
        By name of the column, the least and the largest width over height of its pictures.

    Raises:
        DatasetError: `incompatible_shape`, with the rows.
    """
    log = ProblemLog(limits.max_bad_rows)
    proportions: dict[str, list[float]] = {}
    for column, kind in pictures:
        if kind not in PICTURE_KINDS:
            continue
        is_uniform = isinstance(masks, ArrayColumn) and isinstance(column, ArrayColumn)
        for row in range(1 if is_uniform else len(masks)):
            try:
                height, width = mask_size(masks.read(row))
                fact = KINDS[kind].inspect(column.read(row))
            except RowError:
                continue
            found = fact["width"] / fact["height"]
            least, most = proportions.get(column.name, (found, found))
            proportions[column.name] = [min(least, found), max(most, found)]
            # Within the rounding of whoever scaled the one to the other.
            scale = width / fact["width"]
            if abs(height - scale * fact["height"]) > max(1.0, scale):
                detail = (
                    f"the mask has {height} x {width} pixels, {quote(column.name)} has {fact['height']} x "
                    f"{fact['width']}: they cannot show the same cut of a scene"
                )
                log.add("incompatible_shape", detail, row=row + 1, pointer="label")
    log.raise_if_any()
    return proportions
