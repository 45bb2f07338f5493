"""What format a dataset file is in: its first bytes say it, its name must agree. The core reads them all."""

from __future__ import annotations

from pathlib import Path, PurePath

from fdkd_core.errors import InputError, Problem, quote
from service import zip_directory

HEAD_BYTES = 512
"""The tar magic lies at 257."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (zip_directory.START, "zip"),
    (zip_directory.EMPTY, "zip"),
    (b"PAR1", "parquet"),
    (b"\x1f\x8b", "tar.gz"),
    (b"BZh", "tar.bz2"),
    (b"\xfd7zXZ\x00", "tar.xz"),
)

_SUFFIXES = {
    ".zip": ("zip",),
    ".npz": ("npz",),
    ".parquet": ("parquet",),
    ".pq": ("parquet",),
    ".tar": ("tar",),
    ".tgz": ("tar.gz",),
    ".gz": ("tar.gz",),
    ".tbz2": ("tar.bz2",),
    ".bz2": ("tar.bz2",),
    ".txz": ("tar.xz",),
    ".xz": ("tar.xz",),
    ".csv": ("csv",),
    ".jsonl": ("jsonl",),
}
"""A file of another suffix, or of none, is what its bytes say."""

_TEXTS = ("csv", "jsonl")
"""Known by suffix alone, since text has no magic."""

# Named so that the error can say what the file really is.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"#!", "a script"),
    *((bytes([0x80, protocol]), "a Python pickle") for protocol in range(2, 6)),
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
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a WAV or AVI file"),
    (b"SQLite format 3", "an SQLite database"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<svg", b"<!--")
_MAX_NPZ_DIRECTORY_BYTES = 1 << 20


def identify(path: Path, file_name: str) -> str:
    """Tells the format of a file, which is also the suffix to store it under.

    Args:
        path: The file.
        file_name: As its sender calls it.

    Returns:
        `zip`, `npz`, `tar`, `tar.gz`, `tar.bz2`, `tar.xz`, `parquet`, `csv` or `jsonl`.

    Raises:
        InputError: `unsupported_format`, naming what was found.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    suffix = PurePath(file_name).suffix.lower()
    if not head:
        raise _unsupported(file_name, "is empty")
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if found is None and head[257:262] == b"ustar":
        found = "tar"
    if found is None:
        found = _as_text(head, suffix, file_name)
    if found == "zip" and suffix != ".zip" and (suffix == ".npz" or _holds_arrays(path)):
        found = "npz"
    if suffix in _SUFFIXES and found not in _SUFFIXES[suffix]:
        raise _unsupported(file_name, f"is named {suffix} but its content is {found}")
    return found


def _as_text(head: bytes, suffix: str, file_name: str) -> str:
    foreign = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    if foreign is None and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower().startswith(_MARKUP):
        foreign = "an HTML or XML page: the download may have failed"
    text_format = suffix.removeprefix(".")
    if foreign is None and text_format in _TEXTS and b"\0" not in head:
        return text_format
    raise _unsupported(file_name, f"is {foreign or f'not a known format: it begins with {quote(head[:8])}'}")


def _holds_arrays(path: Path) -> bool:
    names = zip_directory.member_names(path, max_directory_bytes=_MAX_NPZ_DIRECTORY_BYTES)
    return bool(names) and all("/" not in name and name.endswith(".npy") for name in names or ())


def _unsupported(file_name: str, what: str) -> InputError:
    return InputError(
        Problem(
            "unsupported_format",
            f"{quote(file_name)} {what}. Readable are .zip, .tar (also .gz, .bz2, .xz), .npz, .parquet, "
            ".csv and .jsonl.",
        )
    )
