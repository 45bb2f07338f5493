"""What is uploaded as one zip: the same files give the same bytes, so that its hash says what changed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fdkd_client.errors import LocalFileError
from fdkd_core import description_file

_EPOCH = (1980, 1, 1, 0, 0, 0)
_OPEN_NAMED = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_FILE = _OPEN_NAMED | os.O_NOFOLLOW
_MANIFEST_SUFFIXES = (".csv", ".jsonl")


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


@contextmanager
def uploadable_dataset(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `uploadable`; but a file goes as a temporary zip with the description beside it, if it has one.

    Raises:
        LocalFileError: As for `uploadable`, or the description cannot be read.
    """
    given = Path(path)
    description = description_of(given)
    if description is None:
        with uploadable(given) as file:
            yield file
        return
    # Names of our own: those of the user may be such as no archive should hold.
    suffix = given.suffix.lower()
    name = f"manifest{suffix}" if suffix in _MANIFEST_SUFFIXES else f"data{suffix}"
    with tempfile.TemporaryDirectory(prefix="fdkd-upload-") as temporary:
        target = Path(temporary) / f"{given.stem}.zip"
        # Both may be reached by links: the user named one of them, and the other lies where they look for it.
        _write_zip(target, {name: given, description_file.NAME: description}, given, _OPEN_NAMED)
        yield target


def description_of(path: Path) -> Path | None:
    """The `<stem>.dataset.yaml` beside a file that is a dataset on its own; None where there is none."""
    suffixes = (*description_file.TABLE_SUFFIXES, *_MANIFEST_SUFFIXES)
    if path.suffix.lower() not in suffixes or not path.is_file():
        return None
    beside = description_file.beside(path)
    return beside if os.path.lexists(beside) else None


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
    _write_zip(target, {name: folder / name for name in names}, folder, _OPEN_FILE)
    return len(names)


def _write_zip(target: Path, files: Mapping[str, Path], given: Path, flags: int) -> None:
    """Files by their name in the zip, in that order."""
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for name, path in files.items():
                _add(archive, name, path, flags)
    except OSError as error:
        raise LocalFileError(f"{given} cannot be packed: {error}") from error


def _add(archive: zipfile.ZipFile, name: str, path: Path, flags: int) -> None:
    with open(os.open(path, flags), "rb") as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise LocalFileError(f"{path} is not a file")
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
