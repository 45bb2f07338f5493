"""Why a network of the transformers package cannot take an input, or is impossible in itself."""

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
from fdkd_core.spec.hugging_face.sizes import frames, patches, positions, shortest_waveform, smallest_side
from fdkd_core.spec.input_axes import Refusal, axes_refusal, token_refusal

PICTURE = ("channels", "height", "width")
MAX_TOKENS = 16_384
"""Attention works on pairs of tokens; more of them are a wrong patch size or stride, not a picture or a
sound: wav2vec 2.0 as published makes 1,499 of 30 s."""


def hugging_face_refusal(
    architecture: Any, input_shape: tuple[int, ...], vocab_size: int | None
) -> Refusal | None:
    """The sentence, and the field of the architecture that it is about; None where the network fits.

    Args: as `fdkd_core.spec.catalogue.architecture_problems`.
    """
    match architecture:
        case MobileNetV2Spec() | ResNetSpec() | ConvNextSpec():
            return axes_refusal(architecture.name, PICTURE, input_shape, vocab_size) or _convolutional(
                architecture, input_shape
            )
        case ViTSpec() | ASTSpec():
            return (
                axes_refusal(architecture.name, PICTURE, input_shape, vocab_size)
                or _heads(architecture.hidden_size, architecture.num_attention_heads)
                or _patches(architecture, input_shape)
            )
        case Wav2Vec2Spec():
            return _wav2vec2(architecture, input_shape, vocab_size)
        case BertSpec() | DistilBertSpec():
            return token_refusal(architecture.name, input_shape, vocab_size) or _text(
                architecture, input_shape[0], vocab_size or 0
            )
    raise TypeError(type(architecture))


def _convolutional(
    spec: MobileNetV2Spec | ResNetSpec | ConvNextSpec, input_shape: tuple[int, ...]
) -> Refusal | None:
    if not isinstance(spec, MobileNetV2Spec) and len(spec.hidden_sizes) != len(spec.depths):
        stages = len(spec.hidden_sizes)
        return (
            f"{len(spec.depths)} depths do not fit {stages} hidden_sizes: one of each per stage.",
            "/depths",
        )
    if isinstance(spec, ResNetSpec) and spec.layer_type == "bottleneck" and min(spec.hidden_sizes) < 4:
        return "a bottleneck works on a quarter of hidden_sizes, which must be at least 4.", "/hidden_sizes"
    needed, sides = smallest_side(spec), list(input_shape[1:])
    if min(sides) >= needed:
        return None
    other = " With output_stride 8 sides from 8 do." if spec.name == "mobilenet_v2" else ""
    return f"{spec.name} needs both sides to be at least {needed}; this modality gives {sides}.{other}", ""


def _patches(spec: ViTSpec | ASTSpec, input_shape: tuple[int, ...]) -> Refusal | None:
    channels, *sides = input_shape
    size = spec.patch_size
    if min(sides) < size:
        return f"a patch of {size} does not fit into the {sides} of this modality.", "/patch_size"
    if isinstance(spec, ASTSpec):
        if channels != 1:
            return f"ast takes one channel, a spectrogram; this modality gives {channels}.", ""
    elif any(side % size for side in sides):
        return (
            f"both sides must be multiples of patch_size {size}, or the rest is never seen; this modality "
            f"gives {sides}."
        ), "/patch_size"
    found = patches(spec, input_shape)
    if found > MAX_TOKENS:
        return f"{found:,} patches; at most {MAX_TOKENS:,} are allowed: larger ones.", "/patch_size"
    return None


def _wav2vec2(spec: Wav2Vec2Spec, input_shape: tuple[int, ...], vocab_size: int | None) -> Refusal | None:
    if vocab_size is None and len(input_shape) == 3:
        return (
            "wav2vec2 takes a raw waveform, a series of one channel; columns of kind audio and pictures "
            f"give {list(input_shape)}. ast takes spectrograms."
        ), ""
    refusal = axes_refusal(spec.name, ("channels", "time"), input_shape, vocab_size)
    if refusal is not None:
        return refusal
    if not len(spec.conv_dim) == len(spec.conv_stride) == len(spec.conv_kernel):
        return "conv_dim, conv_stride and conv_kernel have one number per convolution each.", "/conv_dim"
    if input_shape[0] != 1:
        return f"wav2vec2 takes a series of one channel; this modality gives {input_shape[0]}.", ""
    groups = spec.num_conv_pos_embedding_groups
    if spec.hidden_size % groups != 0:
        detail = f"hidden_size {spec.hidden_size} must be a multiple of its {groups} groups."
        return detail, "/num_conv_pos_embedding_groups"
    shortest = shortest_waveform(spec)
    if input_shape[1] < shortest:
        return (
            f"the convolutions need {shortest} samples to make one frame; this modality gives "
            f"{input_shape[1]}."
        ), "/conv_stride"
    found = frames(spec, input_shape[1])[-1]
    if found > MAX_TOKENS:
        return f"{found:,} frames; at most {MAX_TOKENS:,} are allowed: larger strides.", "/conv_stride"
    return _heads(spec.hidden_size, spec.num_attention_heads)


def _text(spec: BertSpec | DistilBertSpec, tokens: int, vocab_size: int) -> Refusal | None:
    if spec.vocab_size is not None and spec.vocab_size < vocab_size:
        return (
            f"vocab_size {spec.vocab_size} is less than the {vocab_size} tokens of the column.",
            "/vocab_size",
        )
    if positions(spec, tokens) < tokens:
        return (
            f"max_position_embeddings {spec.max_position_embeddings} is less than the column's length of "
            f"{tokens} tokens."
        ), "/max_position_embeddings"
    if isinstance(spec, BertSpec):
        return _heads(spec.hidden_size, spec.num_attention_heads)
    return _heads(spec.dim, spec.n_heads, "dim", "n_heads")


def _heads(
    width: int, heads: int, width_name: str = "hidden_size", name: str = "num_attention_heads"
) -> Refusal | None:
    if width % heads == 0:
        return None
    return f"{width_name} {width} must be a multiple of {name} {heads}.", f"/{name}"
