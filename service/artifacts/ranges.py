"""One byte range of a file (RFC 9110, 14); several at once are refused, they cost more than they give."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Request

from service.errors import RangeNotSatisfiableError

_ONE_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class ByteRange:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int
    size_bytes: int
    """Of the whole file."""

    @property
    def num_bytes(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        """As the header says it."""
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"


def wanted_range(request: Request, tag: str, size_bytes: int) -> ByteRange | None:
    """The part that a request wants of a file; None for all of it.

    Args:
        request: A GET. Its range counts only while an `If-Range` names the file's present tag.
        tag: The file's strong ETag.
        size_bytes: Of the file.

    Raises:
        RangeNotSatisfiableError: Several ranges, a broken one, or one outside the file.
    """
    stated = request.headers.getlist("range")
    if not stated or request.method != "GET":
        return None
    if any(text != tag for text in request.headers.getlist("if-range")):
        return None
    unit = stated[0].partition("=")[0].strip().lower()
    if len(stated) == 1 and unit != "bytes":
        return None  # a unit that is not ours is to be ignored
    match = _ONE_RANGE.fullmatch(stated[0].strip()) if len(stated) == 1 else None
    found = _within(match[1], match[2], size_bytes) if match else None
    if found is None:
        raise RangeNotSatisfiableError(
            f"One range within {size_bytes} bytes can be had at a time.",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return found


def _within(first: str, last: str, size_bytes: int) -> ByteRange | None:
    if not first:  # the last so many bytes
        wanted = min(int(last or 0), size_bytes)
        return ByteRange(size_bytes - wanted, size_bytes - 1, size_bytes) if wanted else None
    begin, end = int(first), min(int(last), size_bytes - 1) if last else size_bytes - 1
    return ByteRange(begin, end, size_bytes) if begin <= end else None
