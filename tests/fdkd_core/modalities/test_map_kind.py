"""Maps of numbers: what is one, in which precision they are kept, and that a network can learn from them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_files import npy, npy_claiming
from small_job import small_spec

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import DatasetError
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.options import OptionError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec.result import RunResult

MAP = KINDS["map"]


def test_half_precision_and_its_end() -> None:
    values = np.array([[[1e30, -1e30], [0.1, 70_000.0]]])
    recipe = MAP.resolve({}, [MAP.inspect(values)])
    found = MAP.decode(npy(values), recipe)
    assert (found.dtype, found.shape) == (np.float16, (1, 2, 2))
    assert found.tolist() == [[[65504.0, -65504.0], [float(np.float16(0.1)), 65504.0]]]


def test_statistics_are_by_channel() -> None:
    rng = np.random.default_rng(0)
    values = (np.array([3.0, -100.0])[:, None, None] + rng.normal(size=(20, 2, 4, 5))).astype(np.float16)
    recipe = MAP.fit(values, MAP.resolve({}, [MAP.inspect(value) for value in values]))
    inputs = MAP.to_input(values, recipe)
    np.testing.assert_allclose(inputs.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=(0, 2, 3)), 1, atol=1e-5)
    constant = MAP.fit(np.full((4, 1, 2, 2), 7, np.float16), MAP.resolve({}, [{"shape": (1, 2, 2)}]))
    assert MAP.to_input(np.full((1, 1, 2, 2), 9, np.float16), constant).tolist() == [[[[0, 0], [0, 0]]]]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (np.zeros((3, 4)), "incompatible_shape"),
        (np.zeros((3, 0, 4)), "incompatible_shape"),
        (np.zeros((1, 1025, 1)), "incompatible_shape"),
        (np.zeros((65, 512, 513), np.bool_), "incompatible_shape"),
        (npy_claiming("(1000000, 1000, 1000)", "'<f4'"), "invalid_array"),
        (npy_claiming("(2, 2, 2)", "'|O'"), "unsupported_format"),
        ("text", "unsupported_format"),
    ],
)
def test_no_maps(raw: Any, code: str) -> None:
    with pytest.raises(RowError) as caught:
        MAP.inspect(raw)
    assert caught.value.code == code


def test_bad_rows_and_options() -> None:
    recipe = MAP.resolve({}, [{"shape": (2, 3, 4)}] * 2 + [{"shape": (2, 3, 5)}])
    assert recipe["input_shape"] == [2, 3, 4]
    for raw, code in (
        (np.zeros((2, 3, 5)), "incompatible_shape"),
        (np.full((2, 3, 4), np.nan), "invalid_values"),
    ):
        with pytest.raises(RowError) as caught:
            MAP.decode(raw, recipe)
        assert caught.value.code == code
    for options, facts in (({"size": 4}, [{"shape": (2, 3, 4)}]), ({}, [])):
        with pytest.raises(OptionError):
            MAP.resolve(options, facts)


def test_flat_lists_have_a_stated_shape() -> None:
    values = np.arange(24, dtype=np.float32)
    facts = [MAP.inspect(values)]
    recipe = MAP.resolve({"shape": [2, 3, 4]}, facts)
    np.testing.assert_array_equal(MAP.decode(values, recipe), values.reshape(2, 3, 4))
    np.testing.assert_array_equal(MAP.decode(values.reshape(2, 3, 4), recipe), values.reshape(2, 3, 4))
    with pytest.raises(RowError, match=r"found an array of shape \(23,\)"):
        MAP.decode(values[1:], recipe)
    for options, code, pointer in (
        ({}, "missing_field", "/shape"),
        ({"shape": [2, 12]}, "wrong_type", "/shape"),
        ({"shape": [2, 0, 12]}, "out_of_range", "/shape/1"),
        ({"shape": [65, 512, 513]}, "exceeds_limit", "/shape"),
        ({"shape": [1, 1, 1025]}, "exceeds_limit", "/shape"),
    ):
        with pytest.raises(OptionError) as caught:
            MAP.resolve(options, facts)
        assert [(found.code, found.pointer) for found in caught.value.problems] == [(code, pointer)]


def write_rows(folder: Path, maps: list[np.ndarray[Any, Any]], labels: list[int]) -> Path:
    """A manifest that names a .npy for each row."""
    (folder / "maps").mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "label", "answers", "vector"])
        (folder / "vectors").mkdir()
        for row, (values, label) in enumerate(zip(maps, labels, strict=True)):
            np.save(folder / "maps" / f"{row}.npy", values)
            np.save(folder / "vectors" / f"{row}.npy", np.full(3, row, np.float32))
            split = ("train", "train", "val", "test")[row % 4]
            writer.writerow([split, label, f"maps/{row}.npy", f"vectors/{row}.npy"])
    return folder


def test_a_manifest_names_a_file_for_each_row_and_a_network_learns_from_them(tmp_path: Path) -> None:
    """As an ordinary modality too: two classes by where the map is bright."""
    rng = np.random.default_rng(0)
    labels = [row // 4 % 2 for row in range(96)]
    maps = []
    for label in labels:
        values = rng.normal(0, 0.5, (2, 8, 8)).astype(np.float16)
        values[label] += 1
        maps.append(values)
    folder = write_rows(tmp_path / "data", maps, labels)
    report = load_dataset(folder, None).report["modalities"]["answers"]
    assert (report["kind"], report["input_shape"]) == ("map", [2, 8, 8])
    training = {"epochs": 4, "batch_size": 16, "augment": "light"}
    spec = small_spec(
        teacher={"modality": "vector", "train": {**training, "epochs": 1}},
        student={"modality": "answers", "architecture": {"name": "conv2d", "width": 8, "depth": 2}},
        training=training, method={"name": "none"},
    )  # fmt: skip
    result = run(spec, folder, tmp_path / "out", options=RunOptions(device="cpu", threads=1))
    assert isinstance(result, RunResult)
    assert result.student.test.accuracy > 0.9


def test_rows_that_are_not_finite_are_named(tmp_path: Path) -> None:
    maps = [np.random.default_rng(row).normal(size=(2, 4, 4)).astype(np.float32) for row in range(16)]
    maps[5][1, 2, 3] = np.inf
    maps[9] = maps[9][:, :3]
    with pytest.raises(DatasetError) as caught:
        load_dataset(write_rows(tmp_path / "data", maps, [row // 4 % 2 for row in range(16)]), ["answers"])
    assert [(found.code, found.pointer, found.row) for found in caught.value.problems] == [
        ("invalid_values", "answers", 6), ("incompatible_shape", "answers", 10)
    ]  # fmt: skip
