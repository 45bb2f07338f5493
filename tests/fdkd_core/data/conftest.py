from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.reading import read_table
from fdkd_core.errors import DatasetError, Problem

ROWS = [
    ("a", "train", "cat"),
    ("b", "train", "dog"),
    ("c", "train", "cat"),
    ("d", "train", "dog"),
    ("e", "val", "cat"),
    ("f", "test", "dog"),
]


def good_members() -> dict[str, bytes]:
    """A data set of six rows with an image and a text, whose images are not decoded here."""
    lines = ["id,split,label,image,caption"]
    members: dict[str, bytes] = {}
    for name, split, label in ROWS:
        lines.append(f"{name},{split},{label},image/{name}.png,a {label} called {name}")
        members[f"image/{name}.png"] = f"pixels of {name}".encode()
    return {"manifest.csv": "\n".join(lines).encode() + b"\n", **members}


def zip_bytes(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def write_folder(root: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def members() -> dict[str, bytes]:
    return good_members()


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    def make(members: Mapping[str, bytes]) -> Path:
        path = tmp_path / "data.zip"
        path.write_bytes(zip_bytes(members))
        return path

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    def make(members: Mapping[str, bytes]) -> Path:
        return write_folder(tmp_path / "folder", members)

    return make


@pytest.fixture
def packed() -> Callable[..., bytes]:
    return zip_bytes


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the code under test puts temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def problems_of() -> Callable[..., list[Problem]]:
    """Reads what must be refused and returns the problems."""

    def read(path: Path, *, manifest: str | None = None, limits: Limits = DEFAULT) -> list[Problem]:
        with pytest.raises(DatasetError) as caught:
            read_table(path, manifest=manifest, limits=limits)
        assert all(len(problem.detail) < 500 for problem in caught.value.problems)
        assert all(problem.detail.isascii() for problem in caught.value.problems)
        return list(caught.value.problems)

    return read
