"""What a PNG or JPEG says about itself, read in Python before any decoder sees the bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fdkd_core.errors import quote
from fdkd_core.modalities.base import RowError

MAX_IMAGE_PIXELS = 50_000_000
"""Width times height: a 50 MP camera still passes; one decoded image stays under 200 MB.
Pillow's own check only warns below 179 MP, and 20 KB of PNG can claim 13,000 x 13,000."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MAX_PARTS = 4096
"""PNG chunks or JPEG segments walked before the pixels; real files have tens."""
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}
"""JPEG markers between SOF0 and SOF15 that do not start a frame."""
_KNOWN = {
    b"GIF8": "GIF",
    b"<svg": "SVG",
    b"<?xm": "SVG or XML",
    b"RIFF": "WebP or another RIFF file",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
    b"SIMP": "FITS",
    b"%PDF": "PDF",
}


@dataclass(frozen=True)
class ImageHeader:
    """The claims of an image file."""

    format: Literal["PNG", "JPEG"]
    """Pillow's name of the format."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    bit_depth: int
    """Bits per channel: 1 to 16."""
    is_gray: bool
    """One channel, or one and alpha."""
    has_alpha: bool


def read_image_header(raw: bytes) -> ImageHeader:
    """Reads and checks the header of a PNG or JPEG of one frame.

    Raises:
        RowError: `unsupported_format` for other formats and animations, `image_too_large` above
            50 MP, `truncated` or `invalid_image` where the header itself is broken.
    """
    if raw.startswith(_PNG):
        header = _read_png(raw)
    elif raw.startswith(_JPEG):
        header = _read_jpeg(raw)
    else:
        found = next((name for magic, name in _KNOWN.items() if raw.startswith(magic)), quote(raw[:8]))
        raise RowError("unsupported_format", f"expected a PNG or JPEG image, found {found}")
    if header.width == 0 or header.height == 0:
        raise RowError("invalid_image", f"the image claims {header.width} x {header.height} pixels")
    check_pixels(header.width, header.height)
    return header


def check_pixels(width: int, height: int) -> None:
    """Raises RowError `image_too_large` above `MAX_IMAGE_PIXELS`."""
    if width * height > MAX_IMAGE_PIXELS:
        raise RowError(
            "image_too_large",
            f"the image claims {width} x {height} pixels; at most {MAX_IMAGE_PIXELS // 1_000_000} million "
            "are allowed",
        )


def _read_png(raw: bytes) -> ImageHeader:
    parts = _png_chunks(raw)
    name, start, size = next(parts)
    if name != b"IHDR" or size != 13:
        raise RowError("invalid_image", "the PNG does not begin with its IHDR chunk")
    width, height, bit_depth, color = struct.unpack_from(">IIBB", raw, start)
    for name, _, _ in parts:
        if name == b"acTL":
            raise RowError("unsupported_format", "expected a single image, found an animated PNG")
        if name == b"IDAT":
            break
    return ImageHeader("PNG", width, height, bit_depth, is_gray=color in (0, 4), has_alpha=color in (4, 6))


def _png_chunks(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, data offset and data size of each chunk."""
    offset = len(_PNG)
    for _ in range(_MAX_PARTS):
        if offset + 12 > len(raw):
            raise RowError("truncated", "the PNG ends before its pixels")
        size = int.from_bytes(raw[offset : offset + 4], "big")
        if offset + 12 + size > len(raw) and raw[offset + 4 : offset + 8] != b"IDAT":
            raise RowError("truncated", "the PNG ends inside one of its chunks")
        yield raw[offset + 4 : offset + 8], offset + 8, size
        offset += 12 + size
    raise RowError("invalid_image", f"the PNG has more than {_MAX_PARTS} chunks before its pixels")


def _read_jpeg(raw: bytes) -> ImageHeader:
    offset = 2
    for _ in range(_MAX_PARTS):
        while raw[offset : offset + 2] == b"\xff\xff":  # fill bytes may precede a marker
            offset += 1
        if offset + 9 > len(raw):
            raise RowError("truncated", "the JPEG ends before its pixels")
        if raw[offset] != 0xFF:
            raise RowError("invalid_image", "the segments of the JPEG are broken")
        marker = raw[offset + 1]
        size = int.from_bytes(raw[offset + 2 : offset + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            bit_depth, height, width, channels = struct.unpack_from(">BHHB", raw, offset + 4)
            return ImageHeader("JPEG", width, height, bit_depth, is_gray=channels == 1, has_alpha=False)
        offset += 2 + size
    raise RowError("invalid_image", f"the JPEG has more than {_MAX_PARTS} segments before its pixels")
