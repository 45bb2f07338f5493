"""What a file is, by its first bytes. A suffix is a claim that the bytes must support."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from fdkd_core.errors import DatasetError, Problem, quote

Format = Literal["zip", "parquet", "tar", "gzip", "bzip2", "xz", "text"]

HEAD_BYTES = 512
"""Bytes of a file's beginning that `identify` wants: the tar magic lies at 257."""

_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # a zip without members
    (b"PAR1", "parquet"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)

# Not readable; named so that the error can say what the file really is.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "an ELF program"),
    (b"MZ\x90\x00", "a Windows program"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"PARE", "a parquet file with an encrypted footer"),
    (b"\x93NUMPY", "one .npy array: put the arrays into an .npz, with `label` and `split`"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"ARROW1", "an Arrow file: write parquet instead"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive"),
    (b"\x28\xb5\x2f\xfd", "zstandard-compressed"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"RIFF", "a WAV or AVI file"),
    (b"SQLite format 3", "an SQLite database"),
)

_SUFFIXES: dict[str, tuple[Format, ...]] = {
    ".zip": ("zip",),
    ".npz": ("zip",),
    ".parquet": ("parquet",),
    ".pq": ("parquet",),
    ".tar": ("tar",),
    ".tgz": ("gzip",),
    ".gz": ("gzip",),
    ".tbz2": ("bzip2",),
    ".bz2": ("bzip2",),
    ".txz": ("xz",),
    ".xz": ("xz",),
    ".csv": ("text",),
    ".jsonl": ("text",),
}


def identify(head: bytes, file_name: str) -> Format:
    """Tells the format of a file from its first bytes.

    Args:
        head: The first `HEAD_BYTES` bytes, or all of a shorter file.
        file_name: Its suffix, where it is one of ours, must agree with the bytes. Only .csv and .jsonl
            are text; a text file of another name is refused.

    Returns:
        The format. `zip` covers .npz too.

    Raises:
        DatasetError: `unsupported_format`, naming what was found.
    """
    suffix = PurePath(file_name).suffix.lower()
    if not head:
        raise _unsupported(file_name, "is empty")
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if found is None and head[257:262] == b"ustar":
        found = "tar"
    foreign = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    if found is None and foreign is None and suffix in (".csv", ".jsonl"):
        found = "text"
    if found is None:
        start = head.lstrip()[:64].lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
            foreign = "an HTML or XML page: the download may have failed"
        raise _unsupported(
            file_name, f"is {foreign or f'not a known format: it begins with {quote(head[:8])}'}"
        )
    if suffix in _SUFFIXES and found not in _SUFFIXES[suffix]:
        raise _unsupported(file_name, f"is named {suffix} but its content is {found}")
    return found


def _unsupported(file_name: str, what: str) -> DatasetError:
    return DatasetError(
        Problem(
            "unsupported_format",
            f"{quote(file_name)} {what}. Readable are a folder, .zip, .tar (also .gz, .bz2, .xz), "
            ".npz, .parquet, .csv and .jsonl",
        )
    )
