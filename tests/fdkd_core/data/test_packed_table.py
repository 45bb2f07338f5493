"""One .npz or parquet file with its dataset.yaml in a folder, a zip or a tar."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdkd_core.data.columns import ArrayColumn
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.reading import read_table
from fdkd_core.data.table import Table
from fdkd_core.errors import DatasetError, Problem, StorageError
from fdkd_core.validate import validate_dataset

ProblemsOf = Callable[..., list[Problem]]
Members = dict[str, bytes]
Pack = Callable[[Path, Mapping[str, bytes]], Path]

SAID = b"{modalities: {img: {kind: map}}, ignore: [note]}\n"
README = {"README.md": b"# about", "LICENSE": b"MIT", "__MACOSX/._side.npz": b"\0", ".DS_Store": b"\0"}


def arrays(rows: int = 60) -> dict[str, Any]:
    """One channel of floats, whose kind nothing but dataset.yaml can tell."""
    rng = np.random.default_rng(0)
    return {
        "img": rng.normal(size=(rows, 1, 8, 8)).astype(np.float32),
        "note": np.array([f"row {n}" for n in range(rows)]),
        "label": np.arange(rows) % 2,
        "split": np.array(["train"] * (rows - 20) + ["test"] * 20),
    }


def npz(compressed: bool = False, **changes: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **{**arrays(), **changes})
    return file.getvalue()


def parquet() -> bytes:
    columns = {name: values.tolist() for name, values in arrays().items()}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def in_folder(place: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        (place / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "folder" / name).write_bytes(content)
    return place / "folder"


def in_zip(place: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place / "data.zip", "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place / "data.zip"


def in_stored_zip(place: Path, members: Mapping[str, bytes]) -> Path:
    return in_zip(place, members, zipfile.ZIP_STORED)


def in_tar(place: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(place / "data.tar", mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return place / "data.tar"


def in_tar_gz(place: Path, members: Mapping[str, bytes]) -> Path:
    return in_tar(place, members, "w:gz").rename(place / "data.tar.gz")


PACKS = (in_folder, in_zip, in_stored_zip, in_tar, in_tar_gz)


def alone(place: Path, name: str, content: bytes) -> Table:
    """The table of the same file on its own, with the same description beside it."""
    (place / name).write_bytes(content)
    (place / name).with_name(f"{Path(name).stem}.dataset.yaml").write_bytes(SAID)
    return read_table(place / name)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("name", ["side.npz", "side.parquet"])
def test_is_the_same_data_set_as_the_file_with_its_sidecar(tmp_path: Path, pack: Pack, name: str) -> None:
    content = npz() if name == "side.npz" else parquet()
    expected = alone(tmp_path, name, content)
    table = read_table(pack(tmp_path, {name: content, "dataset.yaml": SAID, **README}))
    assert table.sha256 == expected.sha256
    assert table.kinds == {"img": "map"}
    assert list(table.columns) == ["img"]
    assert table.splits == expected.splits
    assert table.labels.names == expected.labels.names
    for row in (0, 59):
        assert np.array_equal(table.columns["img"].read(row), expected.columns["img"].read(row))


def test_the_kind_that_could_not_be_told_is_stated(tmp_path: Path) -> None:
    (tmp_path / "side.npz").write_bytes(npz())
    with pytest.raises(DatasetError, match=r"cannot tell the kind.*one folder or zip with the \.npz"):
        validate_dataset(tmp_path / "side.npz")
    report = validate_dataset(in_zip(tmp_path, {"side.npz": npz(), "dataset.yaml": SAID}))
    assert report["modalities"]["img"]["kind"] == "map"
    assert report["rows"] == 60


def test_labels_that_are_numbers_are_said_to_be(tmp_path: Path) -> None:
    said = b"{modalities: {img: {kind: map}}, labels: {form: numbers}}"
    path = in_zip(tmp_path, {"side.npz": npz(label=np.arange(60) % 30), "dataset.yaml": said})
    assert validate_dataset(path)["label_form"] == "numbers"


@pytest.mark.parametrize(
    "said",
    [
        {"side/side.npz": npz(), "side/dataset.yaml": SAID},  # a folder packed from outside
        {"side/side.npz": npz(), "side/dataset.yaml": SAID, "__MACOSX/side/._side.npz": b"\0"},
        {"./side.npz": npz(), "./dataset.yaml": SAID},
        {"SIDE.NPZ": npz(), "dataset.yaml": SAID},
        {"side.npz": npz(), "side.dataset.yaml": SAID},  # a folder packed as it lay there
        {"side.npz": npz(compressed=True), "dataset.yaml": SAID},
    ],
)
def test_finds_it_where_packers_put_it(tmp_path: Path, said: Members) -> None:
    for pack in (in_zip, in_tar):
        assert read_table(pack(tmp_path, said)).kinds == {"img": "map"}


def test_needs_no_description(tmp_path: Path) -> None:
    (tmp_path / "side.npz").write_bytes(npz())
    expected = read_table(tmp_path / "side.npz")
    for pack in PACKS:
        assert read_table(pack(tmp_path, {"side.npz": npz()})).sha256 == expected.sha256


def test_the_identity_follows_the_content_and_the_description(tmp_path: Path) -> None:
    def sha256(**members: bytes) -> str:
        return read_table(in_zip(tmp_path, {"side.npz": npz(), "dataset.yaml": SAID, **members})).sha256

    first = sha256()
    assert sha256(README=b"other words") == first
    assert sha256(**{"dataset.yaml": SAID + b"# more"}) != first
    assert sha256(**{"side.npz": npz(label=(np.arange(60) + 1) % 2)}) != first


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"a.npz": npz(), "b.npz": npz()}, "2 tables, 'a.npz' and 'b.npz' among them"),
        ({"a.npz": npz(), "b.parquet": parquet(), "dataset.yaml": SAID}, "2 tables"),
        ({"a.npz": npz(), "image/1.png": b"p"}, "'image/1.png' beside 'a.npz'"),
        ({"a.npz": npz(), "deep/b.npz": npz()}, "'deep/b.npz' beside 'a.npz'"),
        ({"a.npz": npz(), "inner.zip": b"PK"}, "'inner.zip' beside 'a.npz'"),
        ({"x/y/a.npz": npz()}, "is it 'x/y/a.npz'? Then put that file at the top"),
        ({"x/a.npz": npz(), "y/b.npz": npz()}, "is it 'x/a.npz'?"),
        ({"a.npz": npz(), "rows.csv": b"id\n1\n"}, "is it 'rows.csv'? Then name it in dataset.yaml"),
        ({"notes.bin": b"?"}, "nor one .npz or .parquet file"),
    ],
)
@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_one_table_and_nothing_else(
    tmp_path: Path, problems_of: ProblemsOf, pack: Pack, members: Members, says: str
) -> None:
    first = problems_of(pack(tmp_path, members))[0]
    assert first.code == "missing_file"
    assert first.detail.startswith("there is no manifest.csv or manifest.jsonl at the top")
    assert says in first.detail


@pytest.mark.parametrize("pack", PACKS)
def test_a_manifest_goes_first(tmp_path: Path, members: Members, pack: Pack) -> None:
    assert read_table(pack(tmp_path, {**members, "extra.npz": npz()})).ids[0] == "a"


def test_so_does_one_that_is_named(tmp_path: Path, members: Members) -> None:
    members["rows.csv"] = members.pop("manifest.csv")
    named = {**members, "extra.npz": npz(), "dataset.yaml": b"manifest: rows.csv"}
    for pack in (in_folder, in_zip, in_tar):
        assert read_table(pack(tmp_path, named)).ids[0] == "a"
    del named["dataset.yaml"]
    assert read_table(in_zip(tmp_path, named), manifest="rows.csv").ids[0] == "a"


@pytest.mark.parametrize(
    ("description", "code", "pointer"),
    [
        (b"modalities: {depth: {kind: map}}", "missing_column", "/modalities/depth"),
        (b"group: speaker", "missing_column", "/group"),
        (b"modalities: [img]", "invalid_description", "/modalities"),
        (b"kinds: {}", "unknown_field", "/kinds"),
        (b"a: &b [1]\nc: *b", "invalid_description", None),
        (b"# " + bytes([65]) * 300_000, "exceeds_limit", None),
    ],
)
@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_refuses_a_description_that_does_not_fit(
    tmp_path: Path, problems_of: ProblemsOf, pack: Pack, description: bytes, code: str, pointer: str | None
) -> None:
    (problem,) = problems_of(pack(tmp_path, {"side.npz": npz(), "dataset.yaml": description}))
    assert (problem.code, problem.pointer) == (code, pointer)


def test_two_descriptions_are_one_too_many(tmp_path: Path, problems_of: ProblemsOf) -> None:
    both = {"side.npz": npz(), "dataset.yaml": SAID, "side.dataset.yaml": SAID}
    assert problems_of(in_zip(tmp_path, both))[0].code == "invalid_description"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("side.npz", b"\x80\x04\x95\x0f\x00\x00\x00", "unsupported_format"),
        ("side.npz", parquet(), "unsupported_format"),
        ("side.parquet", npz(), "unsupported_format"),
        ("side.parquet", b"PAR1" + bytes(100) + b"PAR1", "invalid_parquet"),
        ("side.npz", npz()[:-30], "invalid_archive"),
        ("side.npz", npz(label=np.array([{}] * 60, dtype=object)), "invalid_npz"),  # pickles
        ("side.npz", b"", "unsupported_format"),
    ],
)
def test_the_content_has_to_be_what_the_name_says(
    tmp_path: Path, problems_of: ProblemsOf, name: str, content: bytes, code: str
) -> None:
    for pack in (in_folder, in_zip, in_tar):
        assert problems_of(pack(tmp_path, {name: content, "dataset.yaml": SAID}))[0].code == code


def test_no_archive_in_the_archive_is_opened_as_one(tmp_path: Path, problems_of: ProblemsOf) -> None:
    """An .npz that holds another, or a whole data set, holds no arrays."""
    inner = in_zip(tmp_path, {"side.npz": npz(), "dataset.yaml": SAID}).read_bytes()
    assert problems_of(in_zip(tmp_path, {"side.npz": inner}))[0].code == "invalid_npz"


SMALL = replace(
    DEFAULT, total_ratio_floor_bytes=100_000, ratio_floor_bytes=10_000, max_member_bytes=50_000, max_ratio=20
)


def test_a_table_may_be_larger_than_other_members(tmp_path: Path) -> None:
    """Noise, which does not shrink, three times as large as any picture may be."""
    noise = np.random.default_rng(1).normal(size=(60, 2, 18, 18)).astype(np.float32)
    content = npz(img=noise)
    assert len(content) > 3 * SMALL.max_member_bytes
    for pack in PACKS:
        table = read_table(pack(tmp_path, {"side.npz": content, "dataset.yaml": SAID}), limits=SMALL)
        assert isinstance(table.columns["img"], ArrayColumn)
    members = {"manifest.csv": b"id,label,text\n1,a,b\n", "side.npz": content}
    with pytest.raises(DatasetError, match="at most 50000"):
        read_table(in_zip(tmp_path, members), limits=SMALL)


def test_refuses_bombs(tmp_path: Path, problems_of: ProblemsOf) -> None:
    zeros = np.zeros((60, 1, 80, 80), np.float32)
    bomb, packed_bomb = npz(img=zeros), npz(img=zeros, compressed=True)
    for content in (bomb, packed_bomb):  # the outer archive unpacks too much, or the inner one
        for pack in (in_zip, in_tar_gz):
            problems = problems_of(pack(tmp_path, {"side.npz": content, "dataset.yaml": SAID}), limits=SMALL)
            assert {problem.code for problem in problems} == {"archive_limit"}
    for pack in (in_folder, in_tar, in_stored_zip):
        problems = problems_of(pack(tmp_path, {"side.npz": packed_bomb, "dataset.yaml": SAID}), limits=SMALL)
        assert problems[0].code == "archive_limit"


def test_two_layers_have_the_ratio_of_one(tmp_path: Path, problems_of: ProblemsOf) -> None:
    """Each layer keeps to its ratio alone, and both together would unpack to more."""
    image = np.repeat(np.random.default_rng(0).normal(size=(60, 1, 80, 2)), 15, axis=3).astype(np.float32)
    zeros = np.zeros((60, 1, 50, 50), np.float32)
    with zipfile.ZipFile(
        tmp_path / "side.npz", "w"
    ) as archive:  # one array is packed here, the other outside
        for name, array in {**arrays(), "img": image, "zeros": zeros}.items():
            file = io.BytesIO()
            np.save(file, array)
            method = zipfile.ZIP_DEFLATED if name == "img" else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", file.getvalue(), method)
    inner = (tmp_path / "side.npz").read_bytes()
    path = in_zip(tmp_path, {"side.npz": inner})
    unpacked, outer = image.nbytes + zeros.nbytes, path.stat().st_size
    assert unpacked < SMALL.max_ratio * len(inner)
    assert len(inner) < SMALL.max_ratio * outer
    assert unpacked > SMALL.max_ratio * outer
    assert read_table(tmp_path / "side.npz", limits=SMALL).columns
    assert read_table(in_stored_zip(tmp_path, {"side.npz": inner}), limits=SMALL).columns
    assert problems_of(in_zip(tmp_path, {"side.npz": inner}), limits=SMALL)[0].code == "archive_limit"


@pytest.mark.parametrize("limits", [DEFAULT, SMALL])
def test_a_description_is_not_unpacked_beyond_its_limit(
    tmp_path: Path, problems_of: ProblemsOf, limits: Limits
) -> None:
    path = in_zip(tmp_path, {"side.npz": npz(), "dataset.yaml": b"#" * 40_000_000})
    code = problems_of(path, limits=limits)[0].code
    assert code == ("exceeds_limit" if limits is DEFAULT else "archive_limit")


def test_a_damaged_member_is_refused(tmp_path: Path, problems_of: ProblemsOf) -> None:
    path = in_stored_zip(tmp_path, {"side.npz": npz(), "dataset.yaml": SAID})
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    (problem,) = problems_of(path)
    assert problem.code == "invalid_archive"
    assert "checksum" in problem.detail


def test_links_in_a_folder_are_not_followed(tmp_path: Path, problems_of: ProblemsOf) -> None:
    root = in_folder(tmp_path, {"README": b""})
    (tmp_path / "secret.npz").write_bytes(npz())
    (root / "side.npz").symlink_to(tmp_path / "secret.npz")
    assert problems_of(root)[0].code == "missing_file"
    (root / "side.npz").unlink()
    (root / "side.npz").write_bytes(npz())
    (root / "dataset.yaml").symlink_to("/etc/passwd")
    assert problems_of(root)[0].code == "unsafe_entry"


def test_nothing_is_left_on_the_disk(tmp_path: Path, temporary_folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for pack in PACKS:
        read_table(pack(tmp_path, {"side.npz": npz(), "dataset.yaml": SAID}))
    assert list(temporary_folder.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_full_disk_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    path = in_zip(tmp_path, {"side.npz": npz()})
    monkeypatch.setattr("fdkd_core.data.spool.os.write", full)
    with pytest.raises(StorageError, match="No space left"):
        read_table(path)
