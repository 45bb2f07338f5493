import gc
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.reading import read_table
from fdkd_core.errors import Problem

Make = Callable[[Mapping[str, bytes]], Path]
ProblemsOf = Callable[..., list[Problem]]
Members = dict[str, bytes]


def tar_file(path: Path, members: Members, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("data.tar", "w"),
        ("data.tar.gz", "w:gz"),
        ("data.tgz", "w:gz"),
        ("data.tar.bz2", "w:bz2"),
        ("data.tar.xz", "w:xz"),
        ("0b7c", "w:gz"),
    ],
)
def test_tars_zips_and_folders_hold_the_same_table(
    tmp_path: Path, members: Members, make_zip: Make, make_folder: Make, name: str, mode: str
) -> None:
    expected = read_table(make_folder(members))
    for path in (tar_file(tmp_path / name, members, mode), make_zip(members)):
        table = read_table(path)
        assert (table.ids, table.labels, table.splits) == (expected.ids, expected.labels, expected.splits)
        for column in expected.columns:
            rows = range(len(table.ids))
            assert [table.columns[column].read(r) for r in rows] == [
                expected.columns[column].read(r) for r in rows
            ]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_lone_manifest_holds_inline_text(tmp_path: Path, name: str, problems_of: ProblemsOf) -> None:
    rows = [("train", "a"), ("train", "b"), ("val", "a"), ("test", "b")]
    path = tmp_path / name
    if name.endswith(".csv"):
        text = "split,label,text\n" + "".join(f"{s},{x},said {x}\n" for s, x in rows)
    else:
        text = "".join(f'{{"split": "{s}", "label": "{x}", "text": "said {x}"}}\n' for s, x in rows)
    path.write_text(text)
    assert read_table(path).columns["text"].read(1) == "said b"
    path.with_name("rows.dataset.yaml").write_text("class_names: [b, a]")
    assert read_table(path).class_names == ["b", "a"]
    (tmp_path / "said.png").write_bytes(b"a file of somebody else")
    path.write_text(text.replace("said a", "said.png").replace("said b", "said.png"))
    problems = problems_of(path)
    assert {problem.code for problem in problems} == {"missing_file"}


def test_the_table_outlives_the_call_and_closes_its_file(make_zip: Make, members: Members) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    table = read_table(make_zip(members))
    gc.collect()
    assert table.columns["image"].read(0) == b"pixels of a"
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del table
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_refusals_leave_no_file_open(
    tmp_path: Path, make_zip: Make, make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    members["manifest.csv"] += b"x,y,z\n"
    for path in (
        make_zip(members),
        make_folder(members),
        tar_file(tmp_path / "data.tar.gz", members, "w:gz"),
    ):
        problems_of(path)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_identity_ignores_times_and_sees_content(make_folder: Make, make_zip: Make, members: Members) -> None:
    root, path = make_folder(members), make_zip(members)
    folder, archive = read_table(root).sha256, read_table(path).sha256
    for file in (root / "manifest.csv", root / "image/a.png", path):
        os.utime(file, (1, 1))
    assert (read_table(root).sha256, read_table(path).sha256) == (folder, archive)
    (root / "unused.txt").write_bytes(b"not part of the data")
    assert read_table(root).sha256 == folder
    (root / "image/a.png").write_bytes(b"other pixels")
    assert read_table(root).sha256 != folder
    (root / "image/a.png").write_bytes(members["image/a.png"])
    (root / "dataset.yaml").write_bytes(b"ignore: [caption]")
    assert read_table(root).sha256 != folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.zip", b"\x7fELF\x02\x01\x01" + bytes(100)),
        ("data.zip", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("data.parquet", b"\x80\x04\x95\x0f\x00\x00\x00"),
        ("data.parquet", b"PK\x05\x06" + bytes(18)),
        ("data.npz", b"\x80\x02}q\x00."),
        ("data.csv", b"\x7fELF\x02\x01\x01"),
        ("data.bin", bytes(1000)),
        ("data.zip", b""),
    ],
)
def test_refuses_content_that_is_not_what_the_name_says(
    tmp_path: Path, problems_of: ProblemsOf, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert [problem.code for problem in problems_of(tmp_path / name)] == ["unsupported_format"]


def test_refuses_paths_that_are_no_files(tmp_path: Path, problems_of: ProblemsOf) -> None:
    assert problems_of(tmp_path / "none.zip")[0].code == "missing_file"
    os.mkfifo(tmp_path / "pipe.zip")
    assert problems_of(tmp_path / "pipe.zip")[0].code == "unsafe_entry"
    assert problems_of(tmp_path)[0].code == "missing_file"  # a folder without a manifest
    assert problems_of(Path("/dev/zero"))[0].code == "unsafe_entry"


def test_an_empty_zip_has_no_manifest(tmp_path: Path, problems_of: ProblemsOf) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert problems_of(tmp_path / "data.zip")[0].code == "missing_file"


def test_a_damaged_member_is_a_bad_row_later(make_zip: Make, members: Members) -> None:
    import zipfile

    from fdkd_core.modalities.base import RowError

    path = make_zip(members)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("image/b.png").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 30 + len("image/b.png") + 3] ^= 0xFF
    path.write_bytes(content)
    table = read_table(path)
    assert table.columns["image"].read(0) == b"pixels of a"
    with pytest.raises(RowError):
        table.columns["image"].read(1)
