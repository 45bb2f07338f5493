"""Networks that answer by pixel: which these are, what they take, how large their maps are.

Maps are [channels, height, width]; the classifier works at each place of the feature's map.
"""

from __future__ import annotations

from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.architectures import Conv2dFPNSpec
from fdkd_core.spec.hugging_face.dense import DEEPLAB_DIM, MobileNetV2DeepLabSpec, SegformerSpec
from fdkd_core.spec.input_axes import Refusal, axes_refusal
from fdkd_core.spec.layers import halved
from fdkd_core.spec.methods import (
    CIRKDSpec,
    CombineSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
)
from fdkd_core.spec.tasks import SegmentationSpec, TaskSpec

DenseSpec = Conv2dFPNSpec | SegformerSpec | MobileNetV2DeepLabSpec
"""Architectures that answer by pixel; all others answer once a sample."""

PICTURE_KINDS = ("image", "depth")
"""Kinds of modality that show a scene as a mask does."""

_PICTURE = ("channels", "height", "width")
_BY_PIXEL = (NoneSpec, LogitKDSpec, FeatureMSESpec, FDCMKDSpec, PKDSpec, CIRKDSpec)
"""Methods whose formula is known for maps."""


def dense_dim(architecture: DenseSpec) -> int:
    """D: channels of the feature's map."""
    match architecture:
        case Conv2dFPNSpec():
            return architecture.dim
        case SegformerSpec():
            return architecture.decoder_hidden_size
        case MobileNetV2DeepLabSpec():
            return DEEPLAB_DIM
    raise TypeError(type(architecture))


def map_size(architecture: DenseSpec, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the maps of feature and logits, for an input that fits."""
    height, width = input_shape[1:]
    match architecture:
        case Conv2dFPNSpec():
            return height // 2, width // 2
        case SegformerSpec():
            return strided(height, architecture.strides[0]), strided(width, architecture.strides[0])
        case MobileNetV2DeepLabSpec():
            sides = [height, width]
            for _ in range(architecture.output_stride.bit_length() - 1):
                sides = halved(sides)
            return sides[0], sides[1]
    raise TypeError(type(architecture))


def strided(side: int, stride: int) -> int:
    """Side of a map behind a convolution of odd width that pads half of it."""
    return (side - 1) // stride + 1


def segformer_sizes(spec: SegformerSpec, input_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Height and width of the map of each stage."""
    height, width = input_shape[1:]
    found = []
    for stride in spec.strides:
        height, width = strided(height, stride), strided(width, stride)
        found.append((height, width))
    return found


def smallest_picture(architecture: DenseSpec) -> int:
    """Shorter side that it takes, in pixels."""
    if isinstance(architecture, Conv2dFPNSpec):
        return 1 << architecture.depth
    if isinstance(architecture, MobileNetV2DeepLabSpec):
        return architecture.output_stride
    needed, stride = 1, 1
    for step, ratio in zip(architecture.strides, architecture.sr_ratios, strict=False):
        stride *= step
        needed = max(needed, (ratio - 1) * stride + 1)
    return needed


def dense_refusal(
    architecture: DenseSpec, input_shape: tuple[int, ...], vocab_size: int | None
) -> Refusal | None:
    """The sentence, and the field of the architecture that it is about; None where the network fits.

    Args: as `fdkd_core.spec.catalogue.architecture_problems`.
    """
    refusal = axes_refusal(architecture.name, _PICTURE, input_shape, vocab_size)
    if refusal is not None:
        return refusal
    sides = list(input_shape[1:])
    if isinstance(architecture, SegformerSpec):
        return _segformer(architecture, input_shape)
    field = "/output_stride" if isinstance(architecture, MobileNetV2DeepLabSpec) else "/depth"
    needed = smallest_picture(architecture)
    if min(sides) >= needed:
        return None
    return (
        f"{architecture.name} needs both sides to be at least {needed}; this modality gives {sides}.",
        field,
    )


def _segformer(spec: SegformerSpec, input_shape: tuple[int, ...]) -> Refusal | None:
    stages = len(spec.hidden_sizes)
    for name in ("depths", "num_attention_heads", "patch_sizes", "strides", "sr_ratios", "mlp_ratios"):
        found = len(getattr(spec, name))
        if found != stages:
            return f"{found} {name} do not fit {stages} hidden_sizes: one of each per stage.", f"/{name}"
    for width, heads in zip(spec.hidden_sizes, spec.num_attention_heads, strict=True):
        if width % heads:
            detail = f"hidden_sizes {width} must be a multiple of its num_attention_heads {heads}."
            return detail, "/num_attention_heads"
    if any(size % 2 == 0 for size in spec.patch_sizes):
        return f"patch_sizes must be odd; they are {list(spec.patch_sizes)}.", "/patch_sizes"
    for sizes, ratio in zip(segformer_sizes(spec, input_shape), spec.sr_ratios, strict=True):
        if min(sizes) < ratio:
            detail = f"a map of {list(sizes)} cannot be thinned out by {ratio}: smaller sr_ratios or strides."
            return detail, "/sr_ratios"
    return None


def answer_problems(architecture: Any, task: TaskSpec, kind: str, pointer: str) -> list[Problem]:
    """Why a network does not answer as a task asks, or a modality shows nothing of it; code `incompatible`.

    Args:
        architecture: As in the spec.
        task: Of the job.
        kind: Of the modality.
        pointer: Where the model stands in the spec.
    """
    by_pixel = isinstance(task, SegmentationSpec)
    if by_pixel and (unseen := scene_problems(kind, pointer)):
        return unseen
    if isinstance(architecture, DenseSpec) == by_pixel:
        return []
    answers = "once a sample" if by_pixel else "by pixel"
    fitting = ", ".join(spec.model_fields["name"].default for spec in DenseSpec.__args__)
    other = f"; take one of {fitting}" if by_pixel else ""
    detail = f"{architecture.name} answers {answers}, which {task.kind} cannot use{other}"
    return [Problem("incompatible", detail, f"{pointer}/architecture")]


def scene_problems(kind: str, pointer: str) -> list[Problem]:
    """Why a model of a column cannot see where things are: `incompatible`. Args: as `answer_problems`."""
    if kind in PICTURE_KINDS:
        return []
    detail = f"segmentation needs a modality that shows the scene, image or depth; this column is {kind}"
    return [Problem("incompatible", detail, f"{pointer}/modality")]


def pixel_method_problems(method: MethodSpec, task: TaskSpec, pointer: str) -> list[Problem]:
    """Why a method says nothing about maps, or about anything else; code `incompatible`."""
    if isinstance(method, CombineSpec):
        return []  # its parts are asked one by one
    if not isinstance(task, SegmentationSpec):
        if not isinstance(method, CIRKDSpec):
            return []
        detail = f"cirkd compares pixels, which {task.kind} does not have"
        return [Problem("incompatible", detail, pointer)]
    if isinstance(method, FDCMKDSpec) and method.split and method.basis == "pca":
        detail = "the principal directions are those of one feature a sample; segmentation has a map of them"
        return [Problem("incompatible", detail, f"{pointer}/basis")]
    if isinstance(method, _BY_PIXEL):
        return []
    detail = f"{method.name} compares samples by one answer or feature each, segmentation has a map of them"
    return [Problem("incompatible", detail, pointer)]
