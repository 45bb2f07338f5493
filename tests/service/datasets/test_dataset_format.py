from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest
from file_requests import safetensors_bytes, tar_bytes, zip_bytes

from fdkd_core.data.formats import HEAD_BYTES
from fdkd_core.data.formats import identify as identify_in_core
from fdkd_core.errors import DatasetError, InputError
from service.datasets.file_format import identify

NPZ = zip_bytes({"image.npy": b"\x93NUMPY", "label.npy": b"\x93NUMPY"})
PARQUET = b"PAR1" + bytes(20) + b"PAR1"

GOOD = [
    (zip_bytes(), "data.zip", "zip"),
    (zip_bytes(), "DATA.ZIP", "zip"),
    (zip_bytes(), "data", "zip"),
    (zip_bytes(), "data.unknown", "zip"),
    (b"PK\x05\x06" + bytes(18), "data.zip", "zip"),
    (NPZ, "data.npz", "npz"),
    (NPZ, "data", "npz"),
    (NPZ, "data.zip", "zip"),
    (zip_bytes({"images/1.npy": b"", "manifest.csv": b""}), "data", "zip"),
    (tar_bytes(), "data.tar", "tar"),
    (tar_bytes("gz"), "data.tar.gz", "tar.gz"),
    (tar_bytes("gz"), "data.tgz", "tar.gz"),
    (tar_bytes("bz2"), "data.tar.bz2", "tar.bz2"),
    (tar_bytes("xz"), "data.tar.xz", "tar.xz"),
    (PARQUET, "data.parquet", "parquet"),
    (PARQUET, "../../etc/passwd", "parquet"),
    (b"id,label,text\n", "data.csv", "csv"),
    (b"\xef\xbb\xbfid,label,text\n", "data.csv", "csv"),
    (b'{"id": "1"}\n', "data.jsonl", "jsonl"),
]

BAD = [
    (b"", "data.zip"),
    (b"\x7fELF\x02\x01\x01" + bytes(100), "data.parquet"),
    (b"MZ\x90\x00" + bytes(100), "data.zip"),
    (b"#!/bin/sh\n", "data.csv"),
    (b"<!DOCTYPE html><html>", "data.parquet"),
    (b"\n <html>", "data.csv"),
    (b"<?xml version='1.0'?>", "data.zip"),
    (b"<svg onload=alert(1)>", "data.jsonl"),
    (pickle.dumps({"a": 1}), "data.parquet"),
    (pickle.dumps({"a": 1}, protocol=2), "data"),
    (pickle.dumps({"a": 1}, protocol=0), "data.npz"),
    (zip_bytes(), "data.parquet"),
    (zip_bytes(), "data.tar"),
    (PARQUET, "data.zip"),
    (PARQUET, "data.csv"),
    (tar_bytes(), "data.zip"),
    (tar_bytes("gz"), "data.parquet"),
    (b"\x93NUMPY\x01\x00", "data.npz"),
    (b"\x93NUMPY\x01\x00", "data.npy"),
    (b"\x89HDF\r\n\x1a\n", "data.h5"),
    (b"PARE" + bytes(100), "data.parquet"),
    (b"\x28\xb5\x2f\xfd", "data.tar.zst"),
    (b"\x89PNG\r\n\x1a\n", "photo.png"),
    (b"RIFF\x00\x00\x00\x00WAVE", "sound.wav"),
    (b"SQLite format 3\x00", "data.db"),
    (safetensors_bytes(), "model.safetensors"),
    (b"id,label\n", "data.txt"),
    (b"id,label\n", "data"),
    (b"id\x00label", "data.csv"),
    (b"\xff\xfei\x00d\x00", "data.csv"),
    (bytes(600), "data.tar"),
]


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


def test_what_is_readable(tmp_path: Path) -> None:
    for content, file_name, expected in GOOD:
        assert identify(write(tmp_path, content), file_name) == expected, file_name


def test_what_is_not(tmp_path: Path) -> None:
    for content, file_name in BAD:
        with pytest.raises(InputError) as caught:
            identify(write(tmp_path, content), file_name)
        [problem] = caught.value.problems
        assert problem.code == "unsupported_format"
        assert len(problem.detail) < 300


def test_long_names_are_not_echoed_at_length(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        identify(write(tmp_path, b"\x7fELF"), "a" * 10_000 + "\x1b[31m")
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def test_the_core_reads_what_is_accepted(tmp_path: Path) -> None:
    """Under the name that it is stored by: a dataset must not become unreadable by where it lies."""
    for content, file_name, found in GOOD:
        stored_as = f"ds_x.{identify(write(tmp_path, content), file_name)}"
        assert identify_in_core(content[:HEAD_BYTES], stored_as) in (found, *_CORE[found]), stored_as


_CORE = {
    "npz": ("zip",), "tar.gz": ("gzip",), "tar.bz2": ("bzip2",), "tar.xz": ("xz",), "csv": ("text",),
    "jsonl": ("text",), "zip": (), "tar": (), "parquet": (),
}  # fmt: skip


def test_the_core_refuses_what_is_refused(tmp_path: Path) -> None:
    for content, file_name in BAD:
        if b"#!" in content or file_name.endswith((".csv", ".jsonl")):
            continue  # told apart here by the bytes, there by what a row must be
        with pytest.raises(DatasetError):
            identify_in_core(content[:HEAD_BYTES], file_name)


def test_a_zip_with_a_huge_directory_costs_nothing(tmp_path: Path) -> None:
    """A million members: whether they are all arrays is not looked at."""
    entry = b"PK\x01\x02" + bytes(24) + (5).to_bytes(2, "little") + bytes(16) + b"a.npy"
    directory = entry * 60_000
    end = b"PK\x05\x06" + bytes(4) + (60_000).to_bytes(2, "little") * 2
    end += len(directory).to_bytes(4, "little") + (30).to_bytes(4, "little") + bytes(2)
    content = b"PK\x03\x04" + bytes(26) + directory + end
    assert len(directory) > 1 << 20
    assert identify(write(tmp_path, content), "data") == "zip"


@pytest.mark.parametrize("damage", ["offset", "count", "length", "cut"])
def test_a_broken_directory_is_for_the_worker_to_judge(tmp_path: Path, damage: str) -> None:
    content = bytearray(NPZ)
    end = content.rfind(b"PK\x05\x06")
    if damage == "offset":
        content[end + 16 : end + 20] = b"\xff\xff\xff\x7f"
    elif damage == "count":
        content[end + 10 : end + 12] = b"\xff\xff"
    elif damage == "length":
        directory = content.find(b"PK\x01\x02")
        content[directory + 28 : directory + 30] = b"\xff\xff"
    else:
        content = content[:-10]
    assert identify(write(tmp_path, bytes(content)), "data") == "zip"


def test_real_arrays(tmp_path: Path) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, image=np.zeros((2, 3)), label=np.zeros(2))
    assert identify(write(tmp_path, buffer.getvalue()), "upload") == "npz"
