"""Folders become zips: the same bytes every time, and nothing from outside."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from fdkd_client import LocalFileError
from fdkd_client.archive import uploadable, zip_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "audio" / "deep").mkdir(parents=True)
    (root / "manifest.csv").write_text("id\n1\n")
    (root / "audio" / "ü.wav").write_bytes(b"wave" * 1000)
    (root / "audio" / "deep" / "x.wav").write_bytes(b"")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("token")
    (root / ".DS_Store").write_text("x")
    return root


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    assert zip_folder(folder, tmp_path / "1.zip") == 3
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o755)
    zip_folder(folder, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert archive.namelist() == ["audio/deep/x.wav", "audio/ü.wav", "manifest.csv"]
        assert archive.read("audio/ü.wav") == b"wave" * 1000
        assert archive.testzip() is None


def test_the_core_reads_it(tmp_path: Path) -> None:
    from small_job import write_small_data

    from fdkd_core.data.dataset import load_dataset

    root = tmp_path / "data"
    root.mkdir()
    (root / "manifest.csv").write_text(
        "id,split,label,text\n"
        + "".join(f"{n},{'train' if n < 8 else 'test'},{n % 2},word {n}\n" for n in range(12))
    )
    with uploadable(root) as path:
        assert path.name == "data.zip"
        assert load_dataset(path, ["text"]).report["rows"] == 12
    assert not path.exists()
    npz = write_small_data(tmp_path / "small.npz")
    with uploadable(npz) as path:
        assert path == npz
    assert npz.exists()


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "audio" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(LocalFileError, match="passwd is a link"):
        zip_folder(folder, tmp_path / "1.zip")
    (folder / "audio" / "passwd").unlink()
    (folder / "more").symlink_to(folder / "audio")
    with pytest.raises(LocalFileError, match="more is a link"):
        zip_folder(folder, tmp_path / "1.zip")


def test_a_folder_reached_by_a_link_is_the_users_choice(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    with uploadable(tmp_path / "linked") as path:
        assert zipfile.is_zipfile(path)


def test_special_files_are_refused(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(LocalFileError, match="pipe is not a file"):
        zip_folder(folder, tmp_path / "1.zip")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        with pytest.raises(LocalFileError, match="socket is not a file"):
            zip_folder(folder, tmp_path / "1.zip")


def test_names_that_are_not_text_are_refused(folder: Path, tmp_path: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff.wav", "wb"):
        pass
    with pytest.raises(LocalFileError, match="not Unicode"):
        zip_folder(folder, tmp_path / "1.zip")


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalFileError, match="no files"), uploadable(tmp_path / "empty"):
        pass
    with pytest.raises(LocalFileError, match="no such file"), uploadable(tmp_path / "missing"):
        pass
