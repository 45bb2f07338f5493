import pytest

from fdkd_core.data.formats import identify
from fdkd_core.errors import DatasetError

TAR_HEAD = b"manifest.csv" + b"\0" * 245 + b"ustar\0" + b"00" + b"\0" * 247


@pytest.mark.parametrize(
    ("head", "name", "found"),
    [
        (b"PK\x03\x04rest", "data.zip", "zip"),
        (b"PK\x05\x06" + b"\0" * 18, "data.zip", "zip"),
        (b"PK\x03\x04rest", "arrays.npz", "zip"),
        (b"PK\x03\x04rest", "0b7c", "zip"),
        (b"PAR1rest", "data.parquet", "parquet"),
        (TAR_HEAD, "data.tar", "tar"),
        (b"\x1f\x8b\x08", "data.tar.gz", "gzip"),
        (b"BZh9", "data.tar.bz2", "bzip2"),
        (b"\xfd7zXZ\x00", "data.tar.xz", "xz"),
        (b"id,split,label", "data.csv", "text"),
        (b'{"id": 1}', "DATA.JSONL", "text"),
    ],
)
def test_identifies_by_content(head: bytes, name: str, found: str) -> None:
    assert identify(head, name) == found


@pytest.mark.parametrize(
    ("head", "name", "named"),
    [
        (b"\x7fELF\x02\x01", "data.zip", "ELF"),
        (b"\x7fELF\x02\x01", "data.csv", "ELF"),
        (b"<!DOCTYPE html><html>", "data.zip", "HTML"),
        (b"\n <html>", "data.parquet", "HTML"),
        (b"\x80\x04\x95\x10", "data.parquet", "pickle"),
        (b"\x80\x02}q\x00", "data.npz", "pickle"),
        (b"PK\x03\x04rest", "data.parquet", "zip"),
        (b"PAR1rest", "data.npz", "parquet"),
        (b"PAR1rest", "data.zip", "parquet"),
        (b"PAR1rest", "data.csv", "parquet"),
        (b"\x1f\x8b\x08", "data.tar", "gzip"),
        (b"\x1f\x8b\x08", "data.zip", "gzip"),
        (b"PAREdata", "data.parquet", "encrypted"),
        (b"\x93NUMPY\x01\x00", "data.npz", "npy"),
        (b"\x89HDF\r\n\x1a\n", "data.h5", "HDF5"),
        (b"id,split,label", "data.zip", "b'id,split'"),
        (b"id,split,label", "data", "b'id,split'"),
        (b"", "data.zip", "empty"),
    ],
)
def test_refuses_what_the_content_does_not_support(head: bytes, name: str, named: str) -> None:
    with pytest.raises(DatasetError) as caught:
        identify(head, name)
    (problem,) = caught.value.problems
    assert problem.code == "unsupported_format"
    assert named in problem.detail
