"""A folder as one zip: the same files give the same bytes, so that its hash says whether anything changed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fdkd_client.errors import LocalFileError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def uploadable(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file to send for a path: the file itself, or a folder as a temporary zip.

    Raises:
        LocalFileError: There is nothing, it cannot be read, or the folder has links in it.
    """
    given = Path(path)
    if not given.is_dir():
        if not given.is_file():
            raise LocalFileError(f"{given}: there is no such file or folder")
        yield given
        return
    # Not in the folder itself, which may be read-only, and is not ours.
    with tempfile.TemporaryDirectory(prefix="fdkd-upload-") as temporary:
        name = given.resolve().name or "folder"
        target = Path(temporary) / f"{name}.zip"
        zip_folder(given, target)
        yield target


def zip_folder(folder: Path, target: Path) -> int:
    """Writes all files of a folder to a zip.

    Uncompressed: media do not shrink, and the bytes depend on no library. Names that begin with a dot
    (`.git`, `.DS_Store`) are left out.

    Returns:
        How many files.

    Raises:
        LocalFileError: A link or special file, a name that is not Unicode, no file at all, or no space.
    """
    names = sorted(_names(folder))
    if not names:
        raise LocalFileError(f"{folder} has no files in it")
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for name in names:
                _add(archive, folder, name)
    except OSError as error:
        raise LocalFileError(f"{folder} cannot be packed: {error}") from error
    return len(names)


def _add(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    with open(os.open(folder / name, _OPEN_FILE), "rb") as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise LocalFileError(f"{folder / name} changed into something else while it was read")
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system = 3
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        entry.file_size = status.st_size
        with archive.open(entry, "w") as packed:
            shutil.copyfileobj(source, packed, 1 << 20)


def _names(folder: Path) -> Iterator[str]:
    """Relative names of all files, with slashes."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(folder / below))
        except OSError as error:
            raise LocalFileError(f"{folder / below} cannot be listed: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            if not _is_unicode(name):
                raise LocalFileError(f"{folder / below}: the file name {entry.name!a} is not Unicode")
            if entry.is_symlink():
                raise LocalFileError(
                    f"{folder / name} is a link; links are not followed, since they may lead out of "
                    "the folder. Put the file itself there, or leave it out"
                )
            if entry.is_dir():
                waiting.append(name)
            elif entry.is_file():
                yield name
            else:
                raise LocalFileError(f"{folder / name} is not a file")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
