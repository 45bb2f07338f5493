"""A bundle, or a Hugging Face folder, as one zip: only its known files come out, into a folder. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from fdkd_core.atomic_files import storage_errors
from fdkd_core.bundle.folder import BUNDLE_FILES, MANIFEST, MAX_ENTRIES
from fdkd_core.bundle.unsafe_format import refuse_unsafe_format
from fdkd_core.data.limits import GiB, Limits
from fdkd_core.data.source import open_regular
from fdkd_core.data.zip_archive import ZipSource
from fdkd_core.errors import DatasetError, ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import HUGGING_FACE_FILES, may_be_hugging_face
from fdkd_core.modalities.base import RowError

ZIP_START = b"PK\x03\x04"
LIMITS = Limits(
    max_archive_entries=MAX_ENTRIES,
    max_directory_bytes=1 << 16,
    max_member_bytes=2 * GiB,  # 250 million parameters are 1 GB, and an ONNX file ends at 2 GB
    max_total_bytes=4 * GiB,
)


def unpack_bundle(archive: Path, folder: Path) -> None:
    """Copies the files of a zipped bundle into a folder; their content is for `load_bundle` to judge.

    Of a zipped Hugging Face folder, those that `convert_folder` reads.

    Args:
        archive: The zip, with the files at its top.
        folder: Made by this call; removed again when something is refused.

    Raises:
        ModelFileError: `unsafe_format` for files that can run code, `unlisted_file` for others that no bundle
            has and for folders, `unsafe_entry`, `archive_limit` or `invalid_archive` as for data.
        StorageError: No room.
    """
    try:
        source = ZipSource(open_regular(archive), LIMITS)
    except DatasetError as error:
        raise ModelFileError(error.problems) from None
    try:
        names = _wanted(source.names())
        with storage_errors():
            folder.mkdir(parents=True)
            for name in names:
                with open(folder / name, "xb") as file:
                    for chunk in source.chunks(name):
                        file.write(chunk)
    except RowError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelFileError(Problem(error.code, f"{error.detail}.")) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        source.close()


def _wanted(names: list[str]) -> list[str]:
    """What is unpacked: all files of a bundle, which has no others; of a Hugging Face folder, those known."""
    for name in names:
        refuse_unsafe_format(name, b"")
    if may_be_hugging_face(names):
        return [name for name in names if name in HUGGING_FACE_FILES]
    others = [name for name in names if name not in BUNDLE_FILES and name != MANIFEST]
    if others:
        inside = " Zip the files themselves, without a folder around them." if "/" in others[0] else ""
        raise ModelFileError(
            Problem("unlisted_file", f"{quote(name)} is not a file of a bundle.{inside}")
            for name in others[:10]
        )
    return names
