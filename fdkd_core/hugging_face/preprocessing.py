"""From a Hugging Face folder's preprocessing to a recipe of ours that gives the same numbers, or a refusal.

Sources: image_processing_pil_vit, _convnext, _mobilenet_v2 and _segformer of transformers 5.23; of older
releases' files, the keys that have since been renamed.
"""

from __future__ import annotations

from typing import Any

from fdkd_core.errors import ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import PROCESSOR
from fdkd_core.modalities.base import Recipe
from fdkd_core.modalities.options import OptionError
from fdkd_core.modalities.tokenizer import PADDING_ID, load_tokenizer, unknown_id, vocab_size
from fdkd_core.spec.hugging_face.architectures import BertSpec, DistilBertSpec

_FAMILIES = ("ViT", "DeiT", "ConvNext", "MobileNetV1", "MobileNetV2", "Bit")
"""Image processors that scale, cut from the middle, and standardise, in this order and no more."""
_BY_PIXEL_ONLY = "Segformer"
"""Scales both sides on their own and cuts nothing, whatever it says of crops."""
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_WARPED_FROM = 384
"""Side from which on ConvNeXt's processor scales both sides on their own and cuts nothing."""
_DEFAULT_CROP = 224 / 256
_MAX_LENGTH = 4096


def image_recipe(document: Any, channels: int, *, by_pixel: bool = False) -> Recipe:
    """The recipe of a parsed preprocessor_config.json.

    Args:
        document: The JSON.
        channels: Of the network, 1 or 3.
        by_pixel: Whether the network answers by pixel: masks show all of a picture, and so must its input.

    Raises:
        ModelFileError: `unsupported_preprocessing`, with what cannot be done alike.
    """
    if not isinstance(document, dict):
        raise _refusal("is not a JSON object")
    named = document.get("image_processor_type") or document.get("feature_extractor_type")
    families = (*_FAMILIES, _BY_PIXEL_ONLY) if by_pixel else _FAMILIES
    family = next((name for name in families if str(named).startswith(name)), None)
    if family is None:
        raise _refusal(
            f"found {quote(named)}; known are those of {', '.join(families)}", "/image_processor_type"
        )
    if document.get("do_resize", True) is not True:
        raise _refusal("pictures of any size would go in as they are", "/do_resize")
    resample = document.get("resample", 3 if family == "ConvNext" else 2)
    if type(resample) is not int or resample not in _FILTERS:
        raise _refusal(f"found {quote(resample)}; bilinear (2) and bicubic (3) are done here", "/resample")
    height, width, edge = _sizes(document, family, by_pixel=by_pixel)
    if by_pixel and edge is not None and edge != min(height, width):
        detail = (
            "cuts edges off every picture, which the masks still show: the shorter side of the cut must be "
            f"the {edge} of `shortest_edge`"
        )
        raise _refusal(detail, "/crop_size")
    mean, std = _standardisation(document, channels)
    cut = "" if edge is None else f" from the middle of pictures whose shorter side is {edge}"
    recipe: Recipe = {
        "kind": "image",
        "version": "image-1",
        "input_shape": [channels, height, width],
        "input_dtype": "float32",
        "channels": channels,
        "resize": _FILTERS[resample],
        "mean": mean,
        "std": std,
        "notes": [f"from {PROCESSOR}: {height} x {width} pixels{cut}, {_FILTERS[resample]}; mean, deviation"],
    }
    if by_pixel and (document.get("do_reduce_labels") or document.get("reduce_labels")):
        recipe["notes"].append(
            "classes: the model was trained with do_reduce_labels. Class k is k + 1 in masks as it had them, "
            "whose 0 is no class; in masks for a job it is k, and 255 is no class"
        )
    return recipe if edge is None else recipe | {"shortest_edge": edge}


def text_recipe(tokenizer: str, settings: Any, spec: BertSpec | DistilBertSpec) -> Recipe:
    """The recipe of a tokenizer.json.

    Args:
        tokenizer: Its content.
        settings: The parsed tokenizer_config.json; None where there is none.
        spec: The network, which limits the length.

    Raises:
        ModelFileError: The tokeniser is not one that is rebuilt here.
    """
    try:
        rebuilt = str(load_tokenizer(tokenizer).to_str())
    except OptionError as error:
        raise ModelFileError(
            Problem(problem.code, f"tokenizer.json: {problem.detail}.", problem.pointer)
            for problem in error.problems
        ) from None
    longest = spec.max_position_embeddings or _MAX_LENGTH
    stated = settings.get("model_max_length") if isinstance(settings, dict) else None
    length = min(longest, _MAX_LENGTH, stated if type(stated) is int and stated >= 4 else longest)
    size = vocab_size(rebuilt)
    return {
        "kind": "text",
        "version": "text-1",
        "input_shape": [length],
        "input_dtype": "int64",
        "vocab_size": size,
        "padding_id": PADDING_ID,
        "unknown_id": unknown_id(rebuilt),
        "crop": "start",
        "tokenizer": rebuilt,
        "notes": [f"from tokenizer.json: {size} tokens; the first {length} of a text are read"],
    }


def _sizes(document: dict[str, Any], family: str, *, by_pixel: bool) -> tuple[int, int, int | None]:
    """Height and width of the input, and the shorter side that it is cut from.

    By pixel a cut may be longer than that side: of pictures of its proportions it is all there is. Others
    would get black edges, as in the package, or lose some; `fdkd_core.spec.column_fit` refuses them.
    """
    size: Any = document.get("size")
    if type(size) is int:  # as older releases wrote it
        is_square = family in ("ViT", "DeiT", _BY_PIXEL_ONLY) and not document.get("do_center_crop", False)
        size = {"height": size, "width": size} if is_square else {"shortest_edge": size}
    if not isinstance(size, dict):
        raise _refusal("is missing", "/size")
    edge: Any = size.get("shortest_edge")
    sides: list[Any] = [size.get("height"), size.get("width")]
    crop: Any = document.get("crop_size")
    if type(crop) is int:
        crop = {"height": crop, "width": crop}
    cuts = family != _BY_PIXEL_ONLY and document.get(
        "do_center_crop", family in ("MobileNetV1", "MobileNetV2")
    )
    if family == "ConvNext" and _is_side(edge):
        if edge >= _WARPED_FROM:
            return edge, edge, None
        share = document.get("crop_pct", _DEFAULT_CROP) or _DEFAULT_CROP
        if not isinstance(share, int | float) or not 0.1 <= share <= 1:
            raise _refusal(f"found {quote(share)}; 0.1 to 1 are allowed", "/crop_pct")
        return edge, edge, int(edge / share)
    if cuts is True:
        wanted: list[Any] = (
            [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [None, None]
        )
        if not all(map(_is_side, wanted)):
            raise _refusal("is missing or beyond 1024", "/crop_size")
        if all(map(_is_side, sides)) and sides == wanted:
            return wanted[0], wanted[1], None
        if not _is_side(edge) or edge < (min(wanted) if by_pixel else max(wanted)):
            raise _refusal("pictures are cut without their proportions kept, or beyond their edges", "/size")
        return wanted[0], wanted[1], edge
    if not all(map(_is_side, sides)):
        raise _refusal("leaves the longer side open: inputs would differ in size", "/size")
    return sides[0], sides[1], None


def _standardisation(document: dict[str, Any], channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel, of pixels / 255, whatever the file's unit is."""
    factor = document.get("rescale_factor", 1 / 255) if document.get("do_rescale", True) else 1.0
    if not isinstance(factor, int | float) or not 0 < factor <= 1:
        raise _refusal(f"found {quote(factor)}; up to 1 is allowed", "/rescale_factor")
    values: dict[str, list[float]] = {"image_mean": [0.0] * channels, "image_std": [1.0] * channels}
    if document.get("do_normalize", True):
        for name in values:
            stated = document.get(name)
            stated = [stated] * channels if isinstance(stated, int | float) else stated
            if not isinstance(stated, list) or len(stated) != channels or not all(
                isinstance(value, int | float) and abs(value) < 1e6 for value in stated
            ):  # fmt: skip
                raise _refusal(f"found {quote(stated)}; {channels} numbers are needed", f"/{name}")
            values[name] = [float(value) for value in stated]
    if min(values["image_std"]) <= 0:
        raise _refusal("deviations are positive", "/image_std")
    unit = 255 * factor
    unit = 1.0 if abs(unit - 1) < 1e-9 else unit
    return [value / unit for value in values["image_mean"]], [value / unit for value in values["image_std"]]


def _is_side(value: Any) -> bool:
    return type(value) is int and 4 <= value <= 1024


def _refusal(detail: str, pointer: str | None = None) -> ModelFileError:
    return ModelFileError(Problem("unsupported_preprocessing", f"{PROCESSOR}: {detail}.", pointer))
