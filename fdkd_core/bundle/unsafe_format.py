"""Formats of weights that can run code when they are loaded, known by name and by first bytes. No torch."""

from __future__ import annotations

from pathlib import PurePath

from fdkd_core.errors import ModelFileError, Problem, quote

UNSAFE_SUFFIXES = frozenset(
    {".pt", ".pth", ".bin", ".ckpt", ".pt2", ".pte", ".mar"}  # torch
    | {".pkl", ".pickle", ".joblib", ".dill", ".h5", ".hdf5", ".keras"}
    | {".npy", ".npz", ".yaml", ".yml", ".zip", ".tar", ".gz", ".tgz", ".py"}
)
_UNSAFE_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (torch.save, Keras or torch.export)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"x\x9c", "a zlib stream (joblib)"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    # Protocols 0 and 1 have no mark; their bytes make no safetensors header either.
    *((bytes([0x80, protocol]), "a pickle") for protocol in range(2, 6)),
)


def refuse_unsafe_format(file_name: str, start: bytes) -> None:
    """Refuses files that other loaders would unpickle.

    Args:
        file_name: Only its last part matters.
        start: The first 16 bytes or more.

    Raises:
        ModelFileError: `unsafe_format`, with how to convert.
    """
    name = PurePath(file_name)
    found = None
    if name.suffix.lower() in UNSAFE_SUFFIXES:
        found = f"a {name.suffix.lower()} file"
    # A small safetensors header length looks like a pickle's first bytes, so the brace behind it decides.
    elif not (start[3:8] == bytes(5) and start[8:9] == b"{"):
        found = next((what for magic, what in _UNSAFE_MAGIC if start.startswith(magic)), None)
    if found:
        raise ModelFileError(
            Problem(
                "unsafe_format",
                f"{quote(name.name)} is {found}. Only safetensors is read: the other formats can run code "
                "when they are loaded. Convert it where you trust it: "
                "safetensors.torch.save_file(model.state_dict(), 'model.safetensors').",
            )
        )
