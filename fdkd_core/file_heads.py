"""What a file that is to be sent is, by its first bytes and its name: client and service tell it alike.

The client looks before it sends gigabytes, the service before it stores them; a worker reads in earnest.
"""

from __future__ import annotations

from pathlib import PurePath

from fdkd_core.errors import InputError, Problem, quote

HEAD_BYTES = 512
"""As much of a file as is looked at: the tar magic lies at 257."""
ZIP_START, ZIP_EMPTY = b"PK\x03\x04", b"PK\x05\x06"
_TAR_MAGIC = slice(257, 262)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (ZIP_START, "zip"),
    (ZIP_EMPTY, "zip"),
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

_UNSAFE_SUFFIXES = frozenset(
    {".pt", ".pth", ".bin", ".ckpt", ".pt2", ".pte", ".mar", ".torchscript", ".ptl"}  # torch
    | {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".h5", ".hdf5", ".keras"}
    | {".npy", ".npz", ".yaml", ".yml", ".py"}
)
_UNSAFE_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy file"),
    *((bytes([0x80, protocol]), "a pickle") for protocol in range(6)),
    (b"x\x01", "a zlib stream (joblib)"),
    (b"x\x9c", "a zlib stream (joblib)"),
    (b"x\xda", "a zlib stream (joblib)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
)

UNSAFE_ADVICE = (
    "Such files can run code when they are loaded, so safetensors or ONNX is taken: convert it where you "
    "trust it, with safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
)


def dataset_format(head: bytes, file_name: str) -> str:
    """Tells the format of a dataset file; of a zip of arrays only if its name says it.

    Args:
        head: The first `HEAD_BYTES` of it.
        file_name: As its sender calls it.

    Returns:
        `zip`, `npz`, `tar`, `tar.gz`, `tar.bz2`, `tar.xz`, `parquet`, `csv` or `jsonl`.

    Raises:
        InputError: `unsupported_format`, naming what was found.
    """
    suffix = PurePath(file_name).suffix.lower()
    if not head:
        raise _unsupported(file_name, "is empty")
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if found is None and head[_TAR_MAGIC] == b"ustar":
        found = "tar"
    if found is None:
        found = _as_text(head, suffix, file_name)
    if found == "zip" and suffix == ".npz":
        found = "npz"
    if suffix in _SUFFIXES and found not in _SUFFIXES[suffix]:
        raise _unsupported(file_name, f"is named {suffix} but its content is {found}")
    return found


def unsafe_by_name(file_name: str) -> str | None:
    """What a model file is by its suffix, where files of that name can run code when they are loaded."""
    suffix = PurePath(file_name).suffix.lower()
    return f"a {suffix} file" if suffix in _UNSAFE_SUFFIXES else None


def unsafe_by_head(head: bytes) -> str | None:
    """The same by its first bytes; a zip, and safetensors of an odd length, are to be told before."""
    found = next((what for magic, what in _UNSAFE_MAGIC if head.startswith(magic)), None)
    if found is None and head[_TAR_MAGIC] == b"ustar":
        found = "a tar archive (torch.save of old, NeMo)"
    return found


def _as_text(head: bytes, suffix: str, file_name: str) -> str:
    foreign = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    if foreign is None and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower().startswith(_MARKUP):
        foreign = "an HTML or XML page: the download may have failed"
    text_format = suffix.removeprefix(".")
    if foreign is None and text_format in _TEXTS and b"\0" not in head:
        return text_format
    raise _unsupported(file_name, f"is {foreign or f'not a known format: it begins with {quote(head[:8])}'}")


def _unsupported(file_name: str, what: str) -> InputError:
    return InputError(
        Problem(
            "unsupported_format",
            f"{quote(file_name)} {what}. Readable are .zip, .tar (also .gz, .bz2, .xz), .npz, .parquet, "
            ".csv and .jsonl.",
        )
    )
