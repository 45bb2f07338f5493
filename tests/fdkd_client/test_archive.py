"""Folders become zips: the same bytes every time, and nothing from outside."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from fdkd_client import LocalFileError
from fdkd_client.archive import description_of, uploadable, uploadable_dataset, zip_folder


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


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A file with its description beside it; both are only bytes to the client."""
    (tmp_path / "aux: 1.NPZ").write_bytes(b"arrays" * 1000)
    (tmp_path / "aux: 1.dataset.yaml").write_bytes(b"modalities: {}")
    return tmp_path / "aux: 1.NPZ"


def test_a_file_goes_with_the_description_beside_it(pair: Path) -> None:
    assert description_of(pair) == pair.with_name("aux: 1.dataset.yaml")
    with uploadable_dataset(pair) as path:
        assert path.name == "aux: 1.zip"
        first = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == [
                "data.npz",
                "dataset.yaml",
            ]  # the name would be refused in an archive
            assert archive.read("data.npz") == pair.read_bytes()
            assert archive.read("dataset.yaml") == b"modalities: {}"
    assert not path.exists()
    assert pair.exists()
    os.utime(pair, (1, 1))
    with uploadable_dataset(pair) as path:
        assert path.read_bytes() == first
    pair.with_name("aux: 1.dataset.yaml").unlink()
    with uploadable_dataset(pair) as path:
        assert path == pair


@pytest.mark.parametrize(("name", "inside"), [("a.parquet", "data.parquet"), ("a.csv", "manifest.csv")])
def test_every_file_that_has_a_description_beside_it(tmp_path: Path, name: str, inside: str) -> None:
    (tmp_path / name).write_bytes(b"rows")
    (tmp_path / "a.dataset.yaml").write_bytes(b"group: speaker")
    with uploadable_dataset(tmp_path / name) as path, zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [inside, "dataset.yaml"]


def test_what_has_none_goes_as_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data.dataset.yaml").write_bytes(b"{}")
    (tmp_path / "data.zip").write_bytes(b"PK")
    assert description_of(folder) is None  # a folder has its own in it
    with uploadable_dataset(tmp_path / "data.zip") as path:
        assert path == tmp_path / "data.zip"
    with uploadable_dataset(folder) as path, zipfile.ZipFile(path) as archive:
        assert "manifest.csv" in archive.namelist()
    with pytest.raises(LocalFileError, match="no such file"), uploadable_dataset(tmp_path / "none.npz"):
        pass


def test_links_that_the_user_named_are_followed_here(pair: Path, tmp_path: Path) -> None:
    (tmp_path / "linked.npz").symlink_to(pair)
    (tmp_path / "linked.dataset.yaml").symlink_to(pair.with_name("aux: 1.dataset.yaml"))
    with uploadable_dataset(tmp_path / "linked.npz") as path, zipfile.ZipFile(path) as archive:
        assert archive.read("data.npz") == pair.read_bytes()
    (tmp_path / "linked.dataset.yaml").unlink()
    os.mkfifo(tmp_path / "linked.dataset.yaml")
    with (
        pytest.raises(LocalFileError, match=r"linked\.dataset\.yaml is not a file"),
        uploadable_dataset(tmp_path / "linked.npz"),
    ):
        pass
    (tmp_path / "linked.dataset.yaml").unlink()
    (tmp_path / "linked.dataset.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(LocalFileError, match="cannot be packed"), uploadable_dataset(tmp_path / "linked.npz"):
        pass
