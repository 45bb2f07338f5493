"""Pictures as pixels: opening files with Pillow, choosing one size for all, random shifts.

Shared by images and depth maps.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from fdkd_core.errors import Problem
from fdkd_core.modalities.base import Facts, RowError
from fdkd_core.modalities.image_header import ImageHeader, check_pixels
from fdkd_core.modalities.options import OptionError

Side = Annotated[int, Field(ge=4, le=1024)]
Size = Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
"""Pixels: one number for a square, or [height, width]."""

KEEP_UP_TO = 96
"""Pictures of one size are kept as they are up to this shorter side, in pixels: the small networks here
see little more in larger ones, and a training step costs the square of the side."""
DEFAULT_SIDE = 64
"""Side that everything else is resized to: a ResNet-18 step at 64 costs half of one at 96."""

SHIFT_FRACTION = {"light": 1 / 14, "strong": 1 / 7}
"""Largest shift as a fraction of the side: 2 and 4 pixels of 28, the usual crop of padded digits."""


def choose_size(size: int | list[int] | None, facts: Sequence[Facts]) -> tuple[int, int, str]:
    """Height, width and the reason. `facts` carry `height` and `width` of the training pictures.

    Raises:
        OptionError: There is nothing to infer a size from.
    """
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, f"size: {height} x {width} pixels, as stated"
    found = {(int(fact["height"]), int(fact["width"])) for fact in facts}
    if not found:
        raise OptionError(Problem("missing_field", "no training picture to infer a size from", "/size"))
    if len(found) == 1:
        height, width = next(iter(found))
        if 4 <= min(height, width) <= KEEP_UP_TO and max(height, width) <= 1024:
            return height, width, f"size: {height} x {width} pixels, as all training pictures are"
        why = f"all training pictures are {height} x {width}, outside the 4 to {KEEP_UP_TO} kept as they are"
    else:
        why = f"training pictures come in {len(found)} sizes"
    return DEFAULT_SIDE, DEFAULT_SIDE, f"size: {why}, so all are resized to {DEFAULT_SIDE} x {DEFAULT_SIDE}"


def open_picture(raw: bytes, header: ImageHeader) -> Image.Image:
    """The first frame, decoded, by the one Pillow plugin its header calls for.

    A JPEG may carry more pictures behind the first (phones append gain maps); those are not read.

    Raises:
        RowError: `truncated`, `image_too_large` or `invalid_image`.
    """
    try:
        image = Image.open(io.BytesIO(raw), formats=(header.format,))
        check_pixels(*image.size)  # Pillow may find other claims in a hostile file than our header did
        image.load()
    except RowError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RowError("image_too_large", "the image is a decompression bomb") from None
    except Exception as error:  # Pillow lets many kinds of error through for broken files
        message = str(error).lower()
        if "truncat" in message or "broken data stream" in message:
            raise RowError("truncated", f"the {header.format} ends before its last pixel") from None
        raise RowError("invalid_image", f"the {header.format} cannot be decoded") from None
    return image


def scaled(image: Image.Image, size: tuple[int, int], resize: str, shortest_edge: int | None) -> Image.Image:
    """The picture in another size, [height, width].

    Without `shortest_edge` both sides are scaled on their own, so that nothing is cut off. With it the
    shorter side is scaled to it, and the longer one alike, before `size` is cut from the middle, with black
    where the picture ends before. Pillow's filters cover all source pixels when they shrink.

    Args:
        image: Any size.
        size: Height and width of the result.
        resize: `bilinear` or `bicubic`.
        shortest_edge: Pixels, at least as many as one of `size`.

    Raises:
        RowError: `image_too_large`: the picture is so long and thin that scaling would blow it up.
    """
    height, width = size
    whole = (width, height)
    if shortest_edge is not None:
        shorter, longer = sorted(image.size)
        long_edge = int(shortest_edge * longer / shorter)
        whole = (shortest_edge, long_edge) if image.width <= image.height else (long_edge, shortest_edge)
        check_pixels(*whole)
    if image.size != whole:
        image = image.resize(whole, Image.Resampling[resize.upper()])
    left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
    return image if whole == (width, height) else image.crop((left, top, left + width, top + height))


def shift(
    pictures_BCHW: NDArray[Any], rng: np.random.Generator, strength: str, *, fill: float | None
) -> NDArray[Any]:
    """Each picture moved by a random number of whole pixels, the same for its channels.

    Args:
        pictures_BCHW: Shape [B, C, H, W].
        rng: Draws B vertical, then B horizontal shifts.
        strength: `light` or `strong`, a key of `SHIFT_FRACTION`.
        fill: Value that moves in from outside; None repeats the edge, which continues a background
            of any colour.
    """
    count, _, height, width = pictures_BCHW.shape
    reach_y = max(1, round(height * SHIFT_FRACTION[strength]))
    reach_x = max(1, round(width * SHIFT_FRACTION[strength]))
    padding = ((0, 0), (0, 0), (reach_y, reach_y), (reach_x, reach_x))
    if fill is None:
        padded = np.pad(pictures_BCHW, padding, mode="edge")
    else:
        padded = np.pad(pictures_BCHW, padding, constant_values=fill)
    tops = rng.integers(0, 2 * reach_y + 1, count).tolist()
    lefts = rng.integers(0, 2 * reach_x + 1, count).tolist()
    moved = np.empty_like(pictures_BCHW)
    # One slice copy per picture is faster than one gather over all pixels of the batch.
    for index, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        moved[index] = padded[index, :, top : top + height, left : left + width]
    return moved
