"""Opening a file that someone else put there. No torch."""

from __future__ import annotations

import os
import stat
from pathlib import PurePath
from typing import BinaryIO

from fdkd_core.errors import ModelFileError, Problem, quote


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = False) -> tuple[BinaryIO, int]:
    """Opens a regular file for reading, or says that it is none.

    Args:
        path: The file.
        follow_links: False inside bundles, where a symbolic link could lead anywhere.

    Returns:
        The open file, and its size in bytes.

    Raises:
        ModelFileError: `not_found`: it is absent, a link, a folder, a pipe or a device.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    name = quote(PurePath(path).name)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise ModelFileError(Problem("not_found", f"The file {name} cannot be opened.")) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ModelFileError(Problem("not_found", f"{name} is not a regular file."))
    return os.fdopen(descriptor, "rb"), status.st_size


def read_limited(path: str | os.PathLike[str], max_bytes: int, *, follow_links: bool = False) -> bytes:
    """The bytes of a regular file, which may be a link only with `follow_links`.

    Raises:
        ModelFileError: `not_found`, or `exceeds_limit` where it is larger than `max_bytes`.
    """
    file, size = open_regular(path, follow_links=follow_links)
    with file:
        if size > max_bytes:
            detail = f"{quote(PurePath(path).name)} has {size:,} bytes; at most {max_bytes:,} are allowed."
            raise ModelFileError(Problem("exceeds_limit", detail))
        return file.read(max_bytes)
