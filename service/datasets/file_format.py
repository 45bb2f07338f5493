"""What format a dataset file is in: its first bytes say it, its name must agree. The core reads them all."""

from __future__ import annotations

from pathlib import Path, PurePath

from fdkd_core.file_heads import HEAD_BYTES, dataset_format
from service import zip_directory

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
    found = dataset_format(head, file_name)
    if found == "zip" and PurePath(file_name).suffix.lower() != ".zip" and _holds_arrays(path):
        return "npz"
    return found


def _holds_arrays(path: Path) -> bool:
    names = zip_directory.member_names(path, max_directory_bytes=_MAX_NPZ_DIRECTORY_BYTES)
    return bool(names) and all("/" not in name and name.endswith(".npy") for name in names or ())
