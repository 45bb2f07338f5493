"""Images: PNG or JPEG files, or uint8 arrays, as uint8 channels x height x width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from fdkd_core.modalities.arrays import NPY_MAGIC, read_array
from fdkd_core.modalities.base import (
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RowError,
    StandardisedRecipe,
)
from fdkd_core.modalities.image_header import ImageHeader, check_pixels, read_image_header
from fdkd_core.modalities.options import parse, refusal
from fdkd_core.modalities.picture import Size, choose_size, open_picture, scaled, shift
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

CONTRAST = {"light": 0.1, "strong": 0.3}
"""Largest relative change of contrast about the training mean, and of brightness in standard deviations."""


class ImageOptions(StrictModel):
    """Options of an image column."""

    size: Size | None = None
    """Pixels: one number for a square, or [height, width]. Inferred when absent."""
    channels: Literal[1, 3] | None = None
    """1 for grayscale, 3 for colour; grayscale when every training image is."""


class ImageRecipe(StandardisedRecipe):
    """`preprocess.json` of an image, whose means and deviations are those of pixels / 255."""

    kind: Literal["image"]
    version: Literal["image-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=3, max_length=3)]
    channels: Literal[1, 3]
    resize: Literal["bilinear", "bicubic"]
    """Pillow's filter; ours is bilinear, bicubic comes with imported models."""
    shortest_edge: Annotated[int, Field(ge=4, le=2048)] | None = Field(
        default=None, exclude_if=lambda edge: edge is None
    )
    """Of imported models: scale the shorter side to it, keeping the proportions, and cut `input_shape` from
    the middle; what reaches beyond the picture is black. Absent: both sides are scaled on their own."""

    def check(self) -> None:
        """Statistics and shape agree."""
        super().check()
        if self.input_shape[0] != self.channels:
            raise refusal("incompatible", f"found {self.channels} channels in a shape of {self.input_shape}")
        if self.shortest_edge is not None and self.shortest_edge < min(self.input_shape[1:]):
            detail = f"a shorter side of {self.shortest_edge} never fills {self.input_shape[1:]}"
            raise refusal("incompatible", detail)


class ImageKind:
    """Images."""

    name: KindName = "image"
    version = "image-1"
    is_native = True
    stored_dtype = np.dtype(np.uint8)
    options_model = ImageOptions
    recipe_model = ImageRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """Height, width and whether it is grayscale, from the header or the array."""
        if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
            header = read_image_header(raw)
            return {"height": header.height, "width": header.width, "is_gray": header.is_gray}
        height, width, channels = _channels_last(read_array(raw)).shape
        return {"height": height, "width": width, "is_gray": channels == 1}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes size and channels."""
        stated = parse(ImageOptions, options)
        height, width, why_size = choose_size(stated.size, facts)
        if stated.channels is not None:
            channels, why_channels = stated.channels, "as stated"
        elif facts and all(fact["is_gray"] for fact in facts):
            channels, why_channels = 1, "as all training images are grayscale"
        else:
            channels, why_channels = 3, "as some training images are in colour"
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [channels, height, width],
            "input_dtype": "float32",
            "channels": channels,
            "resize": "bilinear",
            "notes": [why_size, f"channels: {channels}, {why_channels}"],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.uint8]:
        """The picture upright, without alpha, in the size and channels of the recipe."""
        channels, height, width = recipe["input_shape"]
        if isinstance(raw, bytes) and not raw.startswith(NPY_MAGIC):
            header = read_image_header(raw)
            image = _flatten(open_picture(raw, header), header)
        else:
            pixels = _channels_last(read_array(raw))
            if pixels.shape == (height, width, channels) and "shortest_edge" not in recipe:
                return np.ascontiguousarray(pixels.transpose(2, 0, 1))
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        image = scaled(image, (height, width), recipe["resize"], recipe.get("shortest_edge"))
        return np.ascontiguousarray(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1))

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Mean and standard deviation per channel, of pixels / 255."""
        mean, std = mean_and_std(decoded, keep_axis=1)
        return recipe | {"mean": (mean / 255).tolist(), "std": (std / 255).tolist()}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised per channel."""
        return affine(decoded, recipe["mean"], recipe["std"], (1, -1, 1, 1), scale=255.0)

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Random shift, then contrast and brightness. No flips: they change digits, letters and signs."""
        if strength == "none":
            return inputs
        return vary_light(shift(inputs, rng, strength, fill=None), rng, strength)


def vary_light(inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength) -> NDArray[Any]:
    """Random contrast and brightness of each picture, in a copy; every pixel stays in its place."""
    if strength == "none":
        return inputs
    reach = CONTRAST[strength]
    shape = (len(inputs), 1, 1, 1)
    varied: NDArray[Any] = inputs * rng.uniform(1 - reach, 1 + reach, shape).astype(np.float32)
    varied += rng.uniform(-reach, reach, shape).astype(np.float32)
    return varied


def _channels_last(array: NDArray[Any]) -> NDArray[np.uint8]:
    """A uint8 array as height x width x (1 or 3)."""
    if array.dtype != np.uint8:
        raise RowError(
            "invalid_values", f"image arrays must be uint8 with values 0 to 255, found {array.dtype}"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise RowError(
            "incompatible_shape",
            f"found an array of shape {array.shape}; images are (H, W), (H, W, 1), (H, W, 3), (1, H, W) "
            "or (3, H, W)",
        )
    check_pixels(array.shape[1], array.shape[0])
    return array


def _flatten(image: Image.Image, header: ImageHeader) -> Image.Image:
    """Upright, without alpha, 8 bits: mode L or RGB."""
    if header.format == "JPEG":
        try:
            image = ImageOps.exif_transpose(image)  # photographs say which way is up
        except Exception:  # a broken EXIF block says nothing about the pixels
            raise RowError("invalid_image", "the EXIF block of the JPEG cannot be read") from None
    if image.mode.startswith("I"):  # 16-bit grayscale; Pillow's own conversion clips at 255
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        # Transparent pixels carry arbitrary colours; white is what a page or a viewer shows there.
        rgba = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return flat.convert("L" if header.is_gray else "RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if header.is_gray else "RGB")
