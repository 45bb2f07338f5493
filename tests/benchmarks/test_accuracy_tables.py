"""The accuracy tables run from data to report, on rows that are made here."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "accuracy"
SPLITS = ["train"] * 700 + ["val"] * 10 + ["test"] * 10


def write_digits(path: Path) -> None:
    """Pictures and spectrograms, both as PNG, of two classes, laid out as `avdigits.zip` is."""
    rng = np.random.default_rng(0)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "split", "label", "image", "audio"])
    with zipfile.ZipFile(path, "w") as target:
        for row, split in enumerate(SPLITS):
            names = []
            for column in ("image", "audio"):
                grey = (rng.normal(size=(8, 8)) * 20 + (200 if row % 2 else 60)).clip(0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(grey).save(file, "PNG")
                names.append(f"{column}/{row}.png")
                target.writestr(names[-1], file.getvalue())
            writer.writerow([f"row{row}", split, row % 2, *names])
        target.writestr("manifest_spk.csv", text.getvalue())


def write_motion(path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(len(SPLITS)) % 2
    columns = ("phone_acc", "phone_gyro", "watch_acc", "watch_gyro")
    series = {
        name: (rng.normal(size=(len(SPLITS), 20, 3)) + 2 * label[:, None, None]).astype(np.float32)
        for name in columns
    }
    path.parent.mkdir()
    subject = np.arange(len(SPLITS)) % 7
    np.savez(path, **series, label=label, split=np.array(SPLITS), subject=subject)


def run_tables(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Rows of the table that is named first."""
    command = [
        sys.executable, str(ACCURACY / "tables.py"), "--data", str(folder), "--out", str(folder / "out"),
        "--work", str(folder / "work"), "--table", *arguments, "--arm", "none", "--arm", "logit_kd",
        "--epochs", "1", "--trials", "1", "--seeds", "2", "--processes", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    with (folder / "out" / f"{arguments[0]}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report(folder: Path, name: str) -> str:
    command = [sys.executable, str(ACCURACY / "report.py"), str(folder / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return (folder / "out" / f"{name}.md").read_text()


@pytest.mark.long
def test_a_tenth_of_the_labels(tmp_path: Path) -> None:
    write_motion(tmp_path / "phone_watch_har" / "arrays.npz")
    direction = "phone gyro->phone acc 10% labels"
    rows = run_tables(tmp_path, "few-labels", "--only", direction)
    assert {row["direction"] for row in rows} == {direction}
    assert [row["method"] for row in rows] == ["teacher", "none", "none", "logit_kd", "logit_kd"]
    text = report(tmp_path, "few-labels")
    assert direction in text
    assert "| logit_kd |" in text


@pytest.mark.long
def test_long_trainings(tmp_path: Path) -> None:
    write_motion(tmp_path / "phone_watch_har" / "arrays.npz")
    direction = "phone gyro->phone acc long"
    rows = run_tables(tmp_path, "long", "--only", direction)
    assert [row["method"] for row in rows] == ["teacher", "none", "none", "logit_kd", "logit_kd"]
    text = report(tmp_path, "long")
    assert direction in text
    assert "| logit_kd |" in text


@pytest.mark.long
@pytest.mark.parametrize(("table", "more"), [("as-wide", ""), ("as-wide-long", " long")])
def test_students_as_wide_as_their_teachers(tmp_path: Path, table: str, more: str) -> None:
    write_motion(tmp_path / "phone_watch_har" / "arrays.npz")
    direction = f"phone gyro->phone acc as wide{more}"
    rows = run_tables(tmp_path, table, "--only", direction, "--arm", "feature_mse")
    assert [row["method"] for row in rows] == ["teacher", *["none"] * 2, *["feature_mse"] * 2]
    folder = tmp_path / "work" / f"phone-gyro-to-phone-acc-as-wide{more.replace(' ', '-')}"
    teacher, student = (
        json.loads((folder / name / "result.json").read_text())["student"]["architecture"]
        for name in ("teacher", f"{table}-feature_mse")
    )
    assert student == teacher
    assert "| feature_mse |" in report(tmp_path, table)


@pytest.mark.long
def test_the_directions_again(tmp_path: Path) -> None:
    """By the rule of one standard error over subjects; and a search of the first table stays out of it."""
    write_motion(tmp_path / "phone_watch_har" / "arrays.npz")
    direction = "phone gyro->phone acc"
    rows = run_tables(tmp_path, "again", "--only", direction, "--arm", "fd_cmkd calm")
    assert [row["method"] for row in rows] == [
        "teacher",
        "none",
        "none",
        "fd_cmkd calm",
        "fd_cmkd calm",
    ]
    with (tmp_path / "out" / "auto.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerow({**rows[1], "method": "auto", "weights": '{"chosen": "none"}'})
    text = report(tmp_path, "again")
    assert "FD-CMKD calm is not above the control on" in text
    assert "above feature_mse on" not in text  # which did not run
    assert "| auto |" not in text


@pytest.mark.long
def test_the_papers_recipe(tmp_path: Path) -> None:
    write_digits(tmp_path / "avdigits.zip")
    rows = run_tables(tmp_path, "methods", "--recipe", "paper")
    assert {row["direction"] for row in rows} == {
        "avdigits image->audio ResNet-18", "avdigits image->audio 10% ResNet-18",
    }  # fmt: skip
    assert "ResNet-18" in report(tmp_path, "methods")
