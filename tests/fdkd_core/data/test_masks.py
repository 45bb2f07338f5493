"""Masks as labels: what is read, what is refused and why, and which classes there are."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from fdkd_core.data.batches import TrainingBatches, clean_inputs
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.label_forms import read_label_column
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.masks import decode_mask, index_masks, refuse_other_proportions
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.reading import read_table
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import DatasetError
from fdkd_core.modalities.base import RowError
from fdkd_core.spec.tasks import VOID, SegmentationSpec
from fdkd_core.validate import validate_dataset

SEGMENTATION = SegmentationSpec()
SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def masks(height: int = 8, width: int = 12, classes: int = 3) -> NDArray[np.uint8]:
    found = np.random.default_rng(0).integers(0, classes, (len(SPLITS), height, width)).astype(np.uint8)
    found[:, 0, 0] = VOID
    return found


def pictures(height: int = 8, width: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 255, (len(SPLITS), height, width, 3)).astype(np.uint8)


def write_folder(folder: Path, found: NDArray[np.uint8], *, suffix: str = ".csv", **files: bytes) -> Path:
    """A folder with a manifest; keyword arguments replace files, or take them away where empty."""
    folder.mkdir()
    contents = {f"m{row}": png(Image.fromarray(mask)) for row, mask in enumerate(found)}
    contents |= {f"p{row}": png(Image.fromarray(picture)) for row, picture in enumerate(pictures())}
    for name, content in (contents | files).items():
        if content:
            (folder / f"{name}.png").write_bytes(content)
    rows = [
        {"id": f"r{row}", "split": split, "label": f"m{row}.png", "picture": f"p{row}.png"}
        for row, split in enumerate(SPLITS)
    ]
    if suffix == ".jsonl":
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_npz(path: Path, label: NDArray[Any], **arrays: Any) -> Path:
    np.savez(path, label=label, split=np.array(SPLITS), **{"picture": pictures(), **arrays})
    return path


def load(path: Path, **options: Any) -> PairedDataset:
    return load_dataset(path, ["picture"], task=SEGMENTATION, workers=1, **options)


def read(folder: Path) -> Any:
    """The table before anything is decoded."""
    return read_table(folder, label_form="mask")


MASKS_IN_PARQUET: dict[str, Callable[[NDArray[Any]], Any]] = {
    "bytes": lambda found: [png(Image.fromarray(mask)) for mask in found],
    "files": lambda found: [{"bytes": png(Image.fromarray(mask)), "path": None} for mask in found],
    "lists": lambda found: pa.array(found.tolist(), pa.list_(pa.list_(pa.int32()))),
    "fixed": lambda found: pa.array(found.tolist(), pa.list_(pa.list_(pa.uint8(), 12), 8)),
}
"""Forms of a column of masks: encoded, as Hugging Face datasets writes pictures, and as rows of pixels."""


def write_parquet(path: Path, label: Any, **columns: Any) -> Path:
    files = [png(Image.fromarray(picture)) for picture in pictures()]
    pq.write_table(
        pa.table({"split": SPLITS, "label": label, "picture": files, **columns}), path, row_group_size=4
    )
    return path


@pytest.mark.parametrize("form", [".csv", ".npz", *MASKS_IN_PARQUET])
def test_masks_are_read_and_recognised(tmp_path: Path, form: str) -> None:
    found = masks()
    if form == ".csv":
        path = write_folder(tmp_path / "data", found)
    elif form == ".npz":
        path = write_npz(tmp_path / "data.npz", found)
    else:
        path = write_parquet(tmp_path / "data.parquet", MASKS_IN_PARQUET[form](found))
    report = validate_dataset(path)  # which nobody told what the labels are
    assert (report["label_form"], report["classes"]) == ("mask", ["0", "1", "2"])
    assert report["mask_shape"] == [8, 12]
    assert report["splits"]["val"] == {"rows": 2, "classes": {"0": 2, "1": 2, "2": 2}}
    assert list(report["modalities"]) == ["picture"]
    data = load(path)
    assert data.labels.dtype == np.uint8
    np.testing.assert_array_equal(data.labels, found)
    assert data.task == SEGMENTATION
    assert data.outputs == ["0", "1", "2"]
    assert data.sha256 == report["sha256"]


def test_the_masks_are_part_of_what_the_data_is(tmp_path: Path) -> None:
    found = masks()
    first = read(write_folder(tmp_path / "a", found, suffix=".jsonl"))
    assert first.labels.mask_files.read(3) == (tmp_path / "a" / "m3.png").read_bytes()
    found[0, 1, 1] = (found[0, 1, 1] + 1) % 3
    assert read(write_folder(tmp_path / "b", found, suffix=".jsonl")).sha256 != first.sha256


@pytest.mark.parametrize(
    ("label", "problems"),
    [
        (masks().astype(float).tolist(), [("invalid_label", "label", None)]),
        (masks()[:, :, :, None].tolist(), [("invalid_label", "label", None)]),
        (["m0.png"] * 10, [("invalid_label", "label", None)]),
        ([*masks()[:9].tolist(), None], [("invalid_label", "label", 10)]),
        ([*masks()[:9].tolist(), []], [("invalid_label", "label", 10)]),
        ([*masks()[:9].tolist(), masks()[9, :, :11].tolist()], [("invalid_values", "label", 10)]),
        (
            [*masks()[:4].tolist(), [*masks()[4, :7].tolist(), [0] * 11], *masks()[5:].tolist()],
            [("invalid_values", "label", 5)],
        ),
        (
            [*masks()[:4].tolist(), [*masks()[4, :7].tolist(), [None] * 12], *masks()[5:].tolist()],
            [("invalid_values", "label", 5)],
        ),
        ([*masks()[:9].tolist(), np.full((8, 12), -1).tolist()], [("invalid_label", "label", 10)]),
        ([*masks()[:9].tolist(), masks()[9, :6].tolist()], [("incompatible_shape", "label", 10)]),
        ([png(Image.fromarray(masks()[0]))] * 9 + [b""], [("invalid_label", "label", 10)]),
        ([png(Image.fromarray(masks()[0]))] * 9 + [b"GIF89a"], [("unsupported_format", "label", 10)]),
        (
            [png(Image.fromarray(masks()[0]))] * 9 + [png(Image.fromarray(pictures()[0]))],
            [("unsupported_format", "label", 10)],
        ),
    ],
    ids=[
        "floats", "three axes", "paths", "missing", "empty", "narrow", "ragged", "a null", "negative",
        "other cut", "no bytes", "gif", "colour",
    ],
)  # fmt: skip
def test_what_is_no_mask_in_parquet(tmp_path: Path, label: Any, problems: Any) -> None:
    assert problems_of(write_parquet(tmp_path / "data.parquet", label)) == problems


def test_masks_are_not_blamed_for_other_columns(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "data.parquet", MASKS_IN_PARQUET["bytes"](masks()), extra=[float("nan"), *range(9)]
    )
    assert problems_of(path) == [("invalid_values", "extra", 1)]


def test_masks_in_parquet_are_bounded(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "data.parquet", MASKS_IN_PARQUET["bytes"](masks()))
    limits = Limits(max_mask_values=959)
    assert problems_of(path, limits=limits) == [("exceeds_limit", "label", None)]
    largest = max(len(content) for content in MASKS_IN_PARQUET["bytes"](masks()))
    found = problems_of(path, limits=Limits(max_member_bytes=largest - 1))
    assert ("exceeds_limit", "label") in {(code, pointer) for code, pointer, _ in found}
    path = write_parquet(tmp_path / "lists.parquet", MASKS_IN_PARQUET["lists"](masks()))
    assert problems_of(path, limits=Limits(max_table_bytes=1000))[0][0] == "invalid_parquet"


def test_masks_in_parquet_may_differ_in_size(tmp_path: Path) -> None:
    found = [mask[::2, ::2] if row % 2 else mask for row, mask in enumerate(masks())]
    path = write_parquet(tmp_path / "data.parquet", [png(Image.fromarray(mask)) for mask in found])
    path.with_name("data.dataset.yaml").write_text("labels: {size: [4, 6]}\n")
    expected = [mask if row % 2 else mask[1::2, 1::2] for row, mask in enumerate(found)]
    np.testing.assert_array_equal(load(path).labels, expected)


def test_a_palette_holds_indexes(tmp_path: Path) -> None:
    image = Image.fromarray(masks()[0]).convert("P")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    image.putdata(masks()[0].reshape(-1).tolist())
    recipe = {"input_shape": [8, 12]}
    np.testing.assert_array_equal(decode_mask(png(image), recipe), masks()[0])
    black_and_white = Image.fromarray(masks()[0] == 1)
    np.testing.assert_array_equal(decode_mask(png(black_and_white), recipe), masks()[0] == 1)


def test_masks_are_scaled_by_nearest_pixel(tmp_path: Path) -> None:
    (tmp_path / "data.dataset.yaml").write_text(
        "labels: {size: [4, 6]}\nmodalities: {picture: {size: [16, 24]}}\n"
    )
    data = load(write_npz(tmp_path / "data.npz", masks()))
    np.testing.assert_array_equal(data.labels, masks()[:, 1::2, 1::2])
    assert data.modalities["picture"].recipe["input_shape"] == [3, 16, 24]
    # Without a word they follow the rule of pictures: too large are 64.
    large = masks(100, 150), pictures(100, 150)
    data = load(write_npz(tmp_path / "large.npz", large[0], picture=large[1]))
    assert data.labels.shape == (10, 64, 64)
    assert data.report["mask_note"].startswith("size: all training masks are 100 x 150")


def gray(bits: int) -> bytes:
    """A PNG header of so many bits a pixel, which is refused before its pixels are looked at."""
    whole = bytearray(png(Image.fromarray(masks()[0])))
    whole[24] = bits
    return bytes(whole)


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (png(Image.fromarray(pictures()[0])), "unsupported_format", "mode RGB"),
        (png(Image.fromarray(pictures()[0]).convert("RGBA")), "unsupported_format", "transparency"),
        (gray(4), "unsupported_format", "4 bits"),
        (gray(16), "unsupported_format", "16 bits"),
        (b"\xff\xd8\xff" + bytes(40), "invalid_image", "JPEG"),
        (b"GIF89a" + bytes(40), "unsupported_format", "GIF"),
        (png(Image.fromarray(masks()[0]))[:-30], "truncated", "ends"),
        (np.full((8, 12), -1), "invalid_label", "0 to 254, and 255 for none: -1"),
        (np.full((8, 12), 256), "invalid_label", ": 256"),
        (np.zeros((8, 12), np.float32), "invalid_label", "float32"),
        (np.zeros((8, 12, 2), np.uint8), "invalid_label", r"(8, 12, 2)"),
    ],
)
def test_what_is_no_mask(raw: Any, code: str, words: str) -> None:
    with pytest.raises(RowError) as caught:
        decode_mask(raw, {"input_shape": [8, 12]})
    assert caught.value.code == code
    assert words in caught.value.detail


def problems_of(path: Path, **options: Any) -> list[tuple[str, str | None, int | None]]:
    with pytest.raises(DatasetError) as caught:
        load(path, **options)
    return [(found.code, found.pointer, found.row) for found in caught.value.problems]


def test_bad_files_are_named_with_their_rows(tmp_path: Path) -> None:
    missing = write_folder(tmp_path / "missing", masks(), m2=b"")
    assert problems_of(missing) == [("missing_file", "label", 3)]
    colour = write_folder(tmp_path / "colour", masks(), m8=png(Image.fromarray(pictures()[0])))
    assert problems_of(colour) == [("unsupported_format", "label", 9)]
    empty = tmp_path / "missing" / "manifest.csv"
    (tmp_path / "missing" / "m2.png").write_bytes(png(Image.fromarray(masks()[2])))
    empty.write_text(empty.read_text().replace("m3.png", ""))
    assert problems_of(tmp_path / "missing") == [("invalid_label", "label", 4)]


def test_masks_lie_over_the_pictures_of_their_rows(tmp_path: Path) -> None:
    turned, half = masks()[4].T.copy(), pictures()[4][::2, ::2].copy()
    folder = write_folder(tmp_path / "data", masks(), m4=png(Image.fromarray(half[:, :, 0])))
    table = read(folder)
    columns = [(table.columns["picture"], "image")]
    refuse_other_proportions(table.labels.mask_files, columns, DEFAULT)  # the same cut, seen more coarsely
    (folder / "m4.png").write_bytes(png(Image.fromarray(turned)))
    refuse_other_proportions(table.labels.mask_files, [(table.columns["picture"], "audio")], DEFAULT)
    with pytest.raises(DatasetError, match="has 8 x 12: they cannot show the same cut") as caught:
        refuse_other_proportions(table.labels.mask_files, columns, DEFAULT)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer, problem.row) == ("incompatible_shape", "label", 5)


def test_indexes_must_be_classes(tmp_path: Path) -> None:
    found = masks()
    found[8, 3, 3] = 7
    assert problems_of(write_npz(tmp_path / "unknown.npz", found)) == [("invalid_label", "label", 9)]
    names = np.array(["sky", "sea"])
    unnamed = write_npz(tmp_path / "unnamed.npz", masks(), class_names=names)
    assert [found[:2] for found in problems_of(unnamed)][:1] == [("invalid_label", "label")]
    binary = write_npz(tmp_path / "binary.npz", np.where(masks() == 1, 255, 0).astype(np.uint8))
    with pytest.raises(DatasetError, match=r"have 1 classes; at least 2 .*255 is no class"):
        load(binary)
    more = np.array(["sky", "sea", "land", "ice"])
    data = load(write_npz(tmp_path / "more.npz", masks(), class_names=more))
    assert data.classes == list(more)
    assert "1 classes have no pixel in training, and cannot be learnt: 'ice'" in data.report["warnings"]


def test_a_mask_without_labels_is_told(tmp_path: Path) -> None:
    found = masks()
    found[1] = VOID
    index = index_masks(found, SPLITS, None, DEFAULT)
    assert index.warnings == [
        "1 masks have no labelled pixel: nothing is learnt from them or measured on them"
    ]
    assert index.counts(np.array([0, 1])) == {"0": 1, "1": 1, "2": 1}


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (masks().astype(np.float32), "of float32; masks are integers"),
        (masks()[:, 0], r"shape \(10, 12\)"),
        (np.zeros((10, 0, 4), np.uint8), r"\(10, 0, 4\)"),
    ],
)
def test_arrays_that_are_no_masks(tmp_path: Path, label: NDArray[Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        load(write_npz(tmp_path / "data.npz", label))
    assert caught.value.problems[0].code == "invalid_label"


def test_other_tasks_refuse_masks_and_this_one_their_labels(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="one class per row is wanted"):
        load_dataset(write_npz(tmp_path / "masks.npz", masks()), ["picture"])
    (tmp_path / "said.dataset.yaml").write_text("labels: {form: class}\n")
    with pytest.raises(DatasetError, match="the task reads masks"):
        load(write_npz(tmp_path / "said.npz", masks()))
    parquet = write_parquet(tmp_path / "masks.parquet", MASKS_IN_PARQUET["lists"](masks()))
    with pytest.raises(DatasetError, match=r"the labels are masks, .*; the task reads one class a row"):
        load_dataset(parquet, ["picture"])


def test_masks_are_bounded(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", masks())
    assert load(path, limits=Limits(max_mask_values=960)).labels.size == 960
    with pytest.raises(DatasetError, match="10 masks of 8 x 12 pixels; 959 pixels are allowed") as caught:
        load(path, limits=Limits(max_mask_values=959))
    assert caught.value.problems[0].code == "exceeds_limit"


def test_text_names_masks_beside_a_manifest_alone() -> None:
    """Not in parquet, whose reader says nothing of files."""
    log = ProblemLog()
    read_label_column(["a.png"] * 10, None, LabelsDescription(), log)
    (problem,) = log.problems()
    assert (problem.code, problem.pointer) == ("invalid_label", "label")
    assert "these are no masks: files that a manifest names" in problem.detail


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_augmentation_moves_no_pixel(tmp_path: Path, strength: Any) -> None:
    """Light changes alone: each picture is a line of the one that is not augmented."""
    data = load(write_npz(tmp_path / "data.npz", masks()))
    rows = data.splits["train"]
    batches = TrainingBatches(
        data.modalities["picture"], data.labels, rows, batch_size=6, seed=0, augment=strength
    )
    batch = batches.batch(0)
    clean = clean_inputs(data.modalities["picture"], rows[batch.positions])
    assert not np.array_equal(batch.inputs, clean)
    for changed, plain in zip(batch.inputs, clean, strict=True):
        slope, offset = np.polyfit(plain.ravel(), changed.ravel(), 1)
        np.testing.assert_allclose(changed, slope * plain + offset, atol=1e-4)
    np.testing.assert_array_equal(batch.labels, masks()[rows[batch.positions]])
