"""Archives of bundles: written once to be measured and hashed, stored without their members."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fdkd_core.atomic_files import sha256_file
from fdkd_core.errors import StorageError
from service.artifacts.archives import SUFFIX, Member, Part, open_stored, parts_document
from service.storage import Storage, Stored

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that the format knows: equal bundles give equal archives."""
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member: how long its name and its extra field are, which follow."""
_BLOCK_BYTES = 1 << 20


def write_zip(folder: Path, target: Path) -> None:
    """Packs a bundle, uncompressed (weights do not shrink) and without a trace of when or where."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(path.name, _ZIP_TIME)
            entry.external_attr = 0o100644 << 16
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as member:
                while block := source.read(_BLOCK_BYTES):
                    member.write(block)


def store_archive(storage: Storage, key: str, archive: Path, members: Mapping[str, Stored]) -> Stored:
    """Stores what an archive has beside its members, which are stored already.

    Args:
        storage: Where to.
        key: Of the archive; what is stored lies beside it.
        archive: As `write_zip` made it.
        members: What is stored, by name in the archive.

    Returns:
        Size and hash of the whole archive, which was read back in parts.

    Raises:
        StorageError: What is read back is another archive.
    """
    description = archive.with_name(archive.name + ".parts")
    description.write_bytes(parts_document(_parts(archive, members)))
    parts_key = key.removesuffix(".zip") + SUFFIX
    storage.put(parts_key, description)
    whole = Stored(parts_key, archive.stat().st_size, sha256_file(archive))
    if _read_back(storage, parts_key) != (whole.size_bytes, whole.sha256):
        raise StorageError(f"{archive.name} was not stored as it was written")
    return whole


def _parts(archive: Path, members: Mapping[str, Stored]) -> Iterator[Part]:
    with zipfile.ZipFile(archive) as listed:
        entries = sorted(listed.infolist(), key=lambda entry: entry.header_offset)
    with archive.open("rb") as file:
        for entry in entries:
            if entry.filename not in members:
                continue  # what is no artifact by itself stays between the others
            begin = file.tell()
            file.seek(entry.header_offset)
            name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            data_at = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
            file.seek(begin)
            yield file.read(data_at - begin)
            yield Member(members[entry.filename].key, entry.file_size)
            file.seek(data_at + entry.file_size)
        yield file.read()


def _read_back(storage: Storage, key: str) -> tuple[int, str]:
    digest, num_bytes = hashlib.sha256(), 0
    file = open_stored(storage, key)
    try:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            num_bytes += len(block)
    finally:
        file.close()
    return num_bytes, digest.hexdigest()
