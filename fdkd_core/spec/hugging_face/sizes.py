"""Sizes inside a network of the transformers package that follow from its spec and its input."""

from __future__ import annotations

from typing import Any

from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    ConvNextSpec,
    DistilBertSpec,
    MobileNetV2Spec,
    ResNetSpec,
    ViTSpec,
    Wav2Vec2Spec,
)

MOBILENET_STAGES = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
"""Channels behind the stem and behind each block at width 1 (Sandler et al. 2018, table 2)."""
MOBILENET_STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_MOBILENET_FEATURES = 1280


def pooled_size(architecture: Any) -> int:
    """D: length of the vector that the classifier reads."""
    match architecture:
        case MobileNetV2Spec():
            if architecture.finegrained_output and architecture.depth_multiplier < 1:
                return _MOBILENET_FEATURES
            return mobilenet_channels(architecture, _MOBILENET_FEATURES)
        case ResNetSpec() | ConvNextSpec():
            return architecture.hidden_sizes[-1]
        case Wav2Vec2Spec():
            return architecture.classifier_proj_size
        case DistilBertSpec():
            return architecture.dim
        case ViTSpec() | ASTSpec() | BertSpec():
            return architecture.hidden_size
    raise TypeError(type(architecture))


def mobilenet_channels(spec: MobileNetV2Spec, channels: int) -> int:
    """Channels of a layer that has `channels` at width 1."""
    return divisible(spec, round(channels * spec.depth_multiplier))


def divisible(spec: MobileNetV2Spec, channels: int) -> int:
    """The nearest multiple, at most a tenth below, and `min_depth` at least."""
    step = spec.depth_divisible_by
    found = max(spec.min_depth, int(channels + step / 2) // step * step)
    return found + step if found < 0.9 * channels else found


def mobilenet_strides(spec: MobileNetV2Spec) -> list[int]:
    """Stride of each block: 1 once the map is `output_stride` times smaller than the input."""
    reached, strides = 2, []
    for stride in MOBILENET_STRIDES:
        strides.append(1 if reached == spec.output_stride else stride)
        reached *= strides[-1]
    return strides


def patches(spec: ViTSpec | ASTSpec, input_shape: tuple[int, ...]) -> int:
    """Tokens that an input [channels, height, width] is cut into, the special ones not counted."""
    height, width = input_shape[1:]
    down, right = spec.patch_size, spec.patch_size
    if isinstance(spec, ASTSpec):
        down, right = spec.frequency_stride, spec.time_stride
    return ((height - spec.patch_size) // down + 1) * ((width - spec.patch_size) // right + 1)


def frames(spec: Wav2Vec2Spec, samples: int) -> list[int]:
    """Frames behind each convolution; 0 or less where the waveform is too short."""
    found = []
    for kernel, stride in zip(spec.conv_kernel, spec.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
        found.append(samples)
    return found


def shortest_waveform(spec: Wav2Vec2Spec) -> int:
    """Samples that make one frame."""
    samples = 1
    for kernel, stride in zip(reversed(spec.conv_kernel), reversed(spec.conv_stride), strict=False):
        samples = (samples - 1) * stride + kernel
    return samples


def smallest_side(spec: MobileNetV2Spec | ResNetSpec | ConvNextSpec) -> int:
    """Shorter side, in pixels, at which the last map is one pixel."""
    if isinstance(spec, MobileNetV2Spec):
        return spec.output_stride
    if isinstance(spec, ConvNextSpec):
        return spec.patch_size << (len(spec.hidden_sizes) - 1)
    return 4 << (len(spec.hidden_sizes) - 1 + spec.downsample_in_first_stage)


def positions(spec: BertSpec | DistilBertSpec, tokens: int) -> int:
    """Rows of the embedding of positions."""
    return spec.max_position_embeddings or tokens
