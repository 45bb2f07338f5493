"""Archives of bundles, put together when they are read: the weights lie in the storage once.

Beside the members, which are artifacts of their own, lies what is the archive's alone: its headers, and
between them the keys of the members. So an archive is read like any file, from any byte on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from service.storage import Storage

SUFFIX = ".zip.parts"
"""Ends the key of what is the archive's alone; no other artifact's key ends so."""


class OpenFile(Protocol):
    """What a download needs of a file."""

    def seek(self, offset: int, /) -> int:
        """Goes to a byte."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes from there on; none at the end."""

    def close(self) -> None:
        """Ends it."""


@dataclass(frozen=True)
class Member:
    """The whole of another object."""

    key: str
    num_bytes: int


Part = bytes | Member


def parts_document(parts: Iterable[Part]) -> bytes:
    """Parts as they are stored."""
    entries: list[dict[str, Any]] = [
        {"key": part.key, "num_bytes": part.num_bytes}
        if isinstance(part, Member)
        else {"base64": base64.b64encode(part).decode()}
        for part in parts
    ]
    return json.dumps({"parts": entries}).encode()


def open_stored(storage: Storage, key: str) -> OpenFile:
    """Opens an artifact, whole or in parts.

    Raises:
        FileNotFoundError: It, or one of its parts, is not there.
    """
    if not key.endswith(SUFFIX):
        return storage.open(key)
    with storage.open(key) as file:
        entries = json.loads(file.read())["parts"]
    parts: list[Part] = [
        Member(entry["key"], entry["num_bytes"]) if "key" in entry else base64.b64decode(entry["base64"])
        for entry in entries
    ]
    return _Composed(storage, parts)


class _Composed:
    """Parts one after the other, read as one file."""

    def __init__(self, storage: Storage, parts: Sequence[Part]) -> None:
        self._position = 0
        self._files: list[BinaryIO] = []
        self._pieces: list[tuple[int, int, bytes | BinaryIO]] = []
        """Begin, end, content."""
        begin = 0
        try:
            for part in parts:
                if isinstance(part, Member):
                    file = storage.open(part.key)
                    self._files.append(file)
                    self._pieces.append((begin, begin + part.num_bytes, file))
                else:
                    self._pieces.append((begin, begin + len(part), part))
                begin = self._pieces[-1][1]
        except BaseException:
            self.close()
            raise

    def seek(self, offset: int, /) -> int:
        """See `OpenFile.seek`."""
        self._position = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """See `OpenFile.read`; it does not read across parts. A part that is too short ends the file."""
        for begin, end, content in self._pieces:
            if not begin <= self._position < end:
                continue
            within, most = self._position - begin, min(size, end - self._position)
            if isinstance(content, bytes):
                block = content[within : within + most]
            else:
                content.seek(within)
                block = content.read(most)
            self._position += len(block)
            return block
        return b""

    def close(self) -> None:
        """See `OpenFile.close`."""
        for file in self._files:
            file.close()
