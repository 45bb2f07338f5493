"""Subjects divided anew, and what the report says of several such divisions."""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "accuracy"
SPEAKERS = {"train": ["ann", "bob", "cid"], "val": ["dan"], "test": ["eve", "fay"]}
PICTURES = {"train": 3, "val": 1, "test": 1}
"""With how many a sound of the split is paired."""


def script(name: str) -> ModuleType:
    """A file of benchmarks/accuracy, which is no package."""
    spec = importlib.util.spec_from_file_location(f"accuracy_{name}", ACCURACY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def manifest_of(path: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(path) as source:
        return list(csv.DictReader(io.TextIOWrapper(source.open("rows.csv"), encoding="utf-8")))


def write_digits(path: Path) -> None:
    """Four sounds of each of two digits a speaker; each picture is used once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", "split", "label", "image", "audio"])
    writer.writeheader()
    with zipfile.ZipFile(path, "w") as target:
        for split, speakers in SPEAKERS.items():
            for speaker in speakers:
                for sound in [f"audio/{digit}_{speaker}_{take}.wav" for digit in "01" for take in range(4)]:
                    target.writestr(sound, sound)
                    for copy in range(PICTURES[split]):
                        image = f"image/{split}-{Path(sound).stem}-{copy}.png"
                        target.writestr(image, image)
                        digit = Path(sound).name[0]
                        writer.writerow(
                            {"id": image, "split": split, "label": digit, "image": image, "audio": sound}
                        )
        target.writestr("rows.csv", text.getvalue())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_speakers_change_their_split_and_nothing_else_changes(tmp_path: Path, number: int) -> None:
    whole, target = tmp_path / "whole.zip", tmp_path / "new.zip"
    write_digits(whole)
    script("resplit").resplit_digits(whole, "rows.csv", number, target)
    old, new = manifest_of(whole), manifest_of(target)
    for column in ("id", "split", "label", "image"):
        assert [row[column] for row in new] == [row[column] for row in old]
    splits: dict[str, set[str]] = defaultdict(set)
    for row in new:
        sound = Path(row["audio"]).stem
        assert sound[0] == row["label"]
        splits[sound.split("_")[1]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert Counter(found for (found,) in splits.values()) == {"train": 3, "val": 1, "test": 2}
    for split, copies in PICTURES.items():
        sounds = Counter(row["audio"] for row in new if row["split"] == split)
        assert set(sounds.values()) == {copies}
        assert len(sounds) == 8 * len(SPEAKERS[split])


def test_other_numbers_divide_otherwise(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    subjects = np.repeat([f"s{number:02}" for number in range(20)], 3)
    split = np.repeat(["train"] * 12 + ["val"] * 3 + ["test"] * 5, 3)
    np.savez(whole, subject=subjects, split=split, label=np.arange(60))
    found = []
    for number in (1, 1, 2):
        script("resplit").resplit_arrays(whole, number, tmp_path / "new.npz")
        with np.load(tmp_path / "new.npz") as arrays:
            found.append(arrays["split"].tolist())
            assert arrays["label"].tolist() == list(range(60))
            for name in np.unique(subjects):
                assert len(set(arrays["split"][subjects == name])) == 1
    assert [Counter(splits) for splits in found] == [Counter({"train": 36, "val": 9, "test": 15})] * 3
    assert found[0] == found[1] != found[2]


def runs_of(figures: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[int, float]]]:
    """Two seeds, a point above and a point below the figure of each split."""
    return {
        f"{direction}, split {number}": {
            arm: {1: values[number - 1] - 1.0, 2: values[number - 1] + 1.0} for arm, values in arms.items()
        }
        for direction, arms in figures.items()
        for number in (1, 2, 3)
    }


def test_a_directions_figure_is_the_mean_over_its_divisions() -> None:
    figures = {
        "a->b": {
            "none": [50.0, 60.0, 70.0], "feature_mse": [49.0, 59.0, 69.0],
            "pkd": [53.0, 63.0, 73.0], "fd_cmkd": [52.0, 61.0, 73.0],
        },
        "b->a": {
            "none": [80.0, 80.0, 80.0], "feature_mse": [81.0, 81.0, 81.0],
            "pkd": [79.0, 79.0, 79.0], "fd_cmkd": [80.0, 79.0, 80.0],
        },
    }  # fmt: skip
    runs = runs_of(figures)
    text = "\n".join(script("splits_report").splits_parts(runs, dict.fromkeys(runs, 90.0)))
    # By hand: differences 2, 1, 3, of standard deviation 1; t at 2 degrees of freedom is 4.303.
    assert "| a->b | 3 | 90.0 | 60.0 | 59.0 (-1.0 ± 0.0) | 63.0 (+3.0 ± 0.0) | 62.0 (+2.0 ± 2.5) |" in text
    assert "not above the control on 1 directions where feature MSE or PKD is: b->a (asked: 0)" in text
    assert "FD-CMKD is above feature_mse on 1 of 2 (asked: 2)" in text
    assert "FD-CMKD is above pkd on 1 of 2 (asked: 2)" in text
    # Three splits of a->b and none of b->a.
    assert "| 1 of 2 | 3 of 6 |" in next(
        line for line in text.splitlines() if line.startswith("| fd_cmkd - none")
    )


def test_a_division_that_lacks_an_arm_is_left_out() -> None:
    arms = ("none", "feature_mse", "pkd", "fd_cmkd")
    runs = runs_of({"a->b": {arm: [50.0, 60.0, 90.0] for arm in arms}})
    del runs["a->b, split 3"]["pkd"]
    text = "\n".join(script("splits_report").splits_parts(runs, dict.fromkeys(runs, 90.0)))
    assert "| a->b | 2 | 90.0 | 55.0 |" in text


def test_all_tables_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps of 2, 1, 3 to the control of a->b in one table, 0, -1, 0 of b->a in another: a tie is no lead."""
    monkeypatch.syspath_prepend(str(ACCURACY))
    tables = [
        runs_of({"a->b": {"none": [50.0, 60.0, 70.0], "fd_cmkd": [52.0, 61.0, 73.0], "pkd": [0.0] * 3}}),
        runs_of(
            {"b->a": {"none": [80.0, 80.0, 80.0], "fd_cmkd": [80.0, 79.0, 80.0], "feature_mse": [9.0] * 3}}
        ),
    ]
    lines = script("report").pooled(tables).splitlines()
    # By hand: squares 15, mean 5/6, so that the deviation is sqrt((15 - 25/6) / 5); over sqrt(6) 0.60.
    assert lines[2] == "| none | 3 of 6 | +0.83 ± 0.60 | 1.00 |"
    assert lines[3].startswith("| feature_mse | 3 of 3 | +70.67")
    assert lines[4].startswith("| pkd | 3 of 3 | +62.00")
