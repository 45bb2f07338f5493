"""Bad input through the front door: exit code 2, the right code, and nothing left but the report."""

from __future__ import annotations

import io
import json
import pickle
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from media_files import huge_png, npy_claiming, png, sound, tone, wav_header
from safetensors.numpy import save_file
from small_job import small_spec, write_small_data

from fdkd_core.__main__ import main

Files = dict[str, bytes | str]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The program takes over two signals; the test runner wants them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def media_spec(folder: Path) -> Path:
    document = small_spec(
        teacher={"modality": "image", "train": {"epochs": 1, "batch_size": 4}},
        student={"modality": "audio"},
        training={"epochs": 1, "batch_size": 4},
    ).model_dump(mode="json")
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def media_files() -> Files:
    """Twelve good rows of 16x16 pictures and half-second tones."""
    rng = np.random.default_rng(0)
    files: Files = {}
    lines = ["id,split,label,image,audio"]
    for row in range(16):
        split = "train" if row < 8 else "val" if row < 12 else "test"
        lines.append(f"r{row},{split},{row % 2},i/{row}.png,a/{row}.wav")
        files[f"i/{row}.png"] = png(rng.integers(0, 255, (16, 16), dtype=np.uint8))
        files[f"a/{row}.wav"] = sound(tone(0.5, frequency_hz=300.0 + 10 * row))
    files["manifest.csv"] = "\n".join(lines) + "\n"
    return files


def lay_out(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def problems_of(spec: Path, data: Path, out: Path) -> list[dict[str, Any]]:
    assert main([str(spec), str(data), str(out), "--quiet", "--device", "cpu", "--threads", "1"]) == 2
    assert [path.name for path in out.iterdir()] == ["report.json"]
    problems: list[dict[str, Any]] = json.loads((out / "report.json").read_text())["problems"]
    assert problems
    assert all(len(problem["detail"]) < 600 for problem in problems)
    return problems


MEDIA: dict[str, tuple[Callable[[Files], None], str, int | None]] = {
    "a picture of 13,000 x 13,000 in few bytes": (
        lambda f: f.update({"i/2.png": huge_png(13_000)}),
        "image_too_large",
        3,
    ),
    "a truncated picture": (lambda f: f.update({"i/2.png": f["i/2.png"][:60]}), "truncated", 3),
    "a web page called png": (lambda f: f.update({"i/2.png": "<html></html>"}), "unsupported_format", 3),
    "a recording that claims 4 GB": (
        lambda f: f.update({"a/5.wav": wav_header(claimed_bytes=0xFFFFFF00)}),
        "truncated",
        6,
    ),
    "no recording at all": (
        lambda f: f.update({"a/5.wav": sound(np.zeros(0, np.float32))}),
        "invalid_audio",
        6,
    ),
    "a file that is not there": (lambda f: f.pop("a/5.wav") and None, "missing_file", 6),
    "a ragged row": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("r3,train", "r3,x,train")}),
        "invalid_csv",
        4,
    ),
    "an unclosed quote": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("r3,", '"r3,')}),
        "invalid_csv",
        None,
    ),
    "another encoding": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].encode("utf-16")}),
        "invalid_csv",
        None,
    ),
    "an id twice": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("r3,", "r2,")}),
        "duplicate_id",
        4,
    ),
    "a label that is a float": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("train,1", "train,1.5")}),
        "invalid_label",
        None,
    ),
    "one class": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace(",1,i", ",0,i")}),
        "dataset_too_small",
        None,
    ),
    "no test split": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("test", "train")}),
        "missing_split",
        None,
    ),
    "a path that leaves the folder": (
        lambda f: f.update({"manifest.csv": f["manifest.csv"].replace("i/3.png", "../../etc/passwd")}),
        None,
        4,
    ),
}


@pytest.mark.parametrize("case", MEDIA)
def test_media(case: str, tmp_path: Path) -> None:
    change, code, row = MEDIA[case]
    files = media_files()
    change(files)
    found = problems_of(media_spec(tmp_path), lay_out(tmp_path / "data", files), tmp_path / "out")
    if code is not None:
        assert code in {problem["code"] for problem in found}, found
    if row is not None:
        assert row in {problem.get("row") for problem in found}, found


def test_several_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    files = media_files()
    files.update({"i/1.png": b"x", "i/6.png": b"y", "a/3.wav": b"z"})
    found = problems_of(media_spec(tmp_path), lay_out(tmp_path / "data", files), tmp_path / "out")
    assert {(problem["row"], problem["pointer"]) for problem in found} == {
        (2, "image"),
        (7, "image"),
        (4, "audio"),
    }


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.csv", "id,split,label,image,audio\nr0,train,0,i.png,a.wav\n")
        archive.writestr("i.png", bytes(200 << 20))
    return buffer.getvalue()


def evil_pickle() -> bytes:
    return pickle.dumps({"weights": [1, 2, 3]})


ARCHIVES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a zip bomb": ("d.zip", zip_bomb, "archive_limit"),
    "a pickle called parquet": ("d.parquet", evil_pickle, "unsupported_format"),
    "a program called zip": ("d.zip", lambda: b"\x7fELF" + bytes(200), "unsupported_format"),
    "a pickle called npz": ("d.npz", evil_pickle, "unsupported_format"),
    "parquet without its end": ("d.parquet", lambda: b"PAR1" + bytes(100), "invalid_parquet"),
    "a torch checkpoint as data": ("d.pt", evil_pickle, "unsupported_format"),
    "nothing": ("d.zip", lambda: b"", "unsupported_format"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(case: str, tmp_path: Path) -> None:
    name, content, code = ARCHIVES[case]
    (tmp_path / name).write_bytes(content())
    found = problems_of(media_spec(tmp_path), tmp_path / name, tmp_path / "out")
    assert found[0]["code"] == code, found


def vector_spec(folder: Path, **changes: Any) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(small_spec(**changes).model_dump(mode="json")))
    return path


ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no rows": (lambda a: a.update({k: v[:0] for k, v in a.items()}), "dataset_too_small"),
    "one row": (lambda a: a.update({k: v[:1] for k, v in a.items()}), "dataset_too_small"),
    "a column of NaN": (lambda a: a["wave"].fill(np.nan), "invalid_values"),
    "a constant column": (lambda a: a["wave"].fill(1.0), "invalid_values"),
    "negative labels": (lambda a: a.update(label=a["label"] - 2), "invalid_label"),
    "no labels": (lambda a: a.pop("label") is None, "missing_column"),
    "columns of other lengths": (lambda a: a.update(clean=a["clean"][:-1]), "invalid_npz"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(case: str, tmp_path: Path) -> None:
    change, code = ARRAYS[case]
    path = write_small_data(tmp_path / "small.npz")
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)
    found = problems_of(vector_spec(tmp_path), path, tmp_path / "out")
    assert code in {problem["code"] for problem in found}, found


@pytest.mark.parametrize(
    "content", [npy_claiming("(1099511627776,)"), npy_claiming("(3,)", "'|O'")], ids=["huge", "object"]
)
def test_array_headers_are_not_believed(content: bytes, tmp_path: Path) -> None:
    path = write_small_data(tmp_path / "small.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", content)
    found = problems_of(vector_spec(tmp_path), path, tmp_path / "out")
    assert found[0]["code"] in ("invalid_npz", "exceeds_limit"), found


def test_parquet_with_bad_rows(tmp_path: Path) -> None:
    rows = 48
    table = pa.table(
        {
            "id": [f"r{i}" for i in range(rows)],
            "split": ["train"] * 32 + ["val"] * 8 + ["test"] * 8,
            "label": [i % 2 for i in range(rows)],
            "clean": [[float(i), 1.0 + i % 3] for i in range(rows)],
            "wave": [[[0.1 * i, float("nan") if i == 7 else 1.0]] * 16 for i in range(rows)],
        }
    )
    pq.write_table(table, tmp_path / "d.parquet")
    found = problems_of(vector_spec(tmp_path), tmp_path / "d.parquet", tmp_path / "out")
    assert [(problem["code"], problem["row"]) for problem in found] == [("invalid_values", 8)]


WEIGHTS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a pickled checkpoint": ("w.pt", lambda p: p.write_bytes(evil_pickle()), "unsafe_format"),
    "a pickle called safetensors": ("w.safetensors", lambda p: p.write_bytes(evil_pickle()), "unsafe_format"),
    "a header of 2^63 bytes": (
        "w.safetensors",
        lambda p: p.write_bytes(b"\x00" * 7 + b"\x80{}"),
        "invalid_safetensors",
    ),
    "another network's weights": (
        "w.safetensors",
        lambda p: save_file({"layer": np.ones(3, np.float32)}, p),
        "missing_tensor",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_teacher_weights(case: str, tmp_path: Path) -> None:
    name, write, code = WEIGHTS[case]
    write(tmp_path / name)
    teacher = {"modality": "clean", "model": name, "architecture": {"name": "mlp", "width": 8}}
    data = write_small_data(tmp_path / "small.npz")
    found = problems_of(vector_spec(tmp_path, teacher=teacher), data, tmp_path / "out")
    assert code in {problem["code"] for problem in found}, found
