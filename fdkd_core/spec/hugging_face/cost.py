"""Layers of the networks of the transformers package, counted from their specs alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
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
from fdkd_core.spec.hugging_face.sizes import (
    MOBILENET_STAGES,
    divisible,
    frames,
    mobilenet_channels,
    mobilenet_strides,
    patches,
    pooled_size,
    positions,
)
from fdkd_core.spec.layers import Layer, conv_and_norm, halved, linear


def hugging_face_layers(
    architecture: Any, input_shape: tuple[int, ...], num_classes: int, vocab_size: int
) -> Iterator[Layer]:
    """Args: as `fdkd_core.spec.cost.parameters`, with 0 tokens for float inputs."""
    match architecture:
        case MobileNetV2Spec():
            yield from _mobilenet(architecture, input_shape)
        case ResNetSpec():
            yield from _resnet(architecture, input_shape)
        case ConvNextSpec():
            yield from _convnext(architecture, input_shape)
        case ViTSpec() | ASTSpec():
            yield from _patch_transformer(architecture, input_shape)
        case Wav2Vec2Spec():
            yield from _wav2vec2(architecture, input_shape[1])
        case BertSpec():
            yield from _bert(architecture, input_shape[0], vocab_size)
        case DistilBertSpec():
            yield from _distilbert(architecture, input_shape[0], vocab_size)
    width = pooled_size(architecture)
    yield Layer(0, 2 * width)  # pooled, and what a dropout leaves of it
    yield linear(width, num_classes)


def _mobilenet(spec: MobileNetV2Spec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    yield from mobilenet_blocks(spec, input_shape)
    sides = list(input_shape[1:])
    for _ in range(spec.output_stride.bit_length() - 1):
        sides = halved(sides)
    inputs, places = mobilenet_channels(spec, MOBILENET_STAGES[-1]), prod(sides)
    yield padded_conv(spec, inputs, pooled_size(spec), 1, places, places)


def padded_conv(
    spec: MobileNetV2Spec, inputs: int, outputs: int, taps: int, before: int, positions: int, groups: int = 1
) -> Layer:
    """A convolution of the package's MobileNetV2 with norm and activation.

    Args:
        spec: Of the network.
        inputs: Channels that come in.
        outputs: Channels that come out.
        taps: Numbers of a filter per channel.
        before: Places of the map that comes in.
        positions: Places of the map that comes out.
        groups: Of channels that are convolved on their own.
    """
    layer = conv_and_norm(inputs // groups, outputs, taps, positions)
    # The activation; and a padded copy of the input, which the package makes even where it pads nothing.
    padded = (inputs * (before + 4 * taps)) if spec.tf_padding else 0
    return layer._replace(outputs=layer.outputs + outputs * positions + padded)


def mobilenet_blocks(spec: MobileNetV2Spec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    """Stem and blocks, without the last layer, which heads for segmentation do without."""
    conv = partial(padded_conv, spec)
    channels, *sides = input_shape
    first = mobilenet_channels(spec, 32)
    stages = [mobilenet_channels(spec, width) for width in MOBILENET_STAGES]
    before, sides = prod(sides), halved(sides)
    places = prod(sides)
    yield conv(channels, first, 9, before, places)
    if not spec.first_layer_is_expansion:
        yield conv(first, first, 1, places, places)
    yield conv(first, first, 9, places, places, groups=first)
    yield conv(first, stages[0], 1, places, places)
    for inputs, outputs, stride in zip(stages, stages[1:], mobilenet_strides(spec), strict=False):
        inner = divisible(spec, round(inputs * spec.expand_ratio))
        yield conv(inputs, inner, 1, places, places)
        before, sides = places, halved(sides) if stride == 2 else sides
        places = prod(sides)
        yield conv(inner, inner, 9, before, places, groups=inner)
        yield conv(inner, outputs, 1, places, places)
        yield Layer(0, outputs * places)  # the sum with what went in


def _resnet(spec: ResNetSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    channels, *sides = input_shape
    inputs = spec.embedding_size
    sides = halved(sides)
    yield conv_and_norm(channels, inputs, 49, prod(sides))
    yield Layer(0, inputs * prod(sides))
    sides = halved(sides)
    yield Layer(0, 3 * inputs * prod(sides))  # pooling keeps an index of 8 bytes beside each value of 4
    for stage, (outputs, depth) in enumerate(zip(spec.hidden_sizes, spec.depths, strict=True)):
        for block in range(depth):
            shrinks = block == 0 and (stage > 0 or spec.downsample_in_first_stage)
            before, sides = prod(sides), halved(sides) if shrinks else sides
            places = prod(sides)
            if spec.layer_type == "basic":
                convolutions = [(inputs, outputs, 9, places), (outputs, outputs, 9, places)]
            else:
                inner = outputs // 4
                first = places if spec.downsample_in_bottleneck else before
                convolutions = [(inputs, inner, 1, first), (inner, inner, 9, places)]
                convolutions.append((inner, outputs, 1, places))
            for sizes in convolutions:
                yield conv_and_norm(*sizes)
                yield Layer(0, sizes[1] * sizes[3])  # activations; of the last, the sum
            if shrinks or inputs != outputs:
                yield conv_and_norm(inputs, outputs, 1, places)
            yield Layer(0, outputs * places)
            inputs = outputs


def _convnext(spec: ConvNextSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    channels, *sides = input_shape
    sides = [side // spec.patch_size for side in sides]
    inputs = spec.hidden_sizes[0]
    # The norms of channels work on a copy with the channels last.
    yield Layer((channels * spec.patch_size**2 + 1) * inputs + 2 * inputs, 3 * inputs * prod(sides))
    for stage, (width, depth) in enumerate(zip(spec.hidden_sizes, spec.depths, strict=True)):
        if stage > 0:
            yield Layer(2 * inputs, 2 * inputs * prod(sides))
            sides = [side // 2 for side in sides]
            yield Layer((4 * inputs + 1) * width, width * prod(sides))
        places = prod(sides)
        for _ in range(depth):
            yield Layer(50 * width, 2 * width * places)  # 7x7 on each channel, and its copy
            yield Layer(2 * width, width * places)
            yield linear(width, 4 * width, places)
            yield Layer(0, 4 * width * places)
            yield linear(4 * width, width, places)
            # Scale, branch with its own copy, sum.
            yield Layer(width if spec.layer_scale_init_value > 0 else 0, 3 * width * places)
        inputs = width
    yield Layer(2 * inputs, 2 * inputs)


def _patch_transformer(spec: ViTSpec | ASTSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    special = 2 if isinstance(spec, ASTSpec) else 1
    width, count = spec.hidden_size, patches(spec, input_shape)
    tokens = count + special
    yield Layer((input_shape[0] * spec.patch_size**2 + 1) * width, count * width)
    masks = 1 if spec.hidden_dropout_prob else 0
    yield Layer((special + tokens) * width, (2 + masks) * tokens * width)
    for _ in range(spec.num_hidden_layers):
        yield from _encoder_layer(
            width,
            spec.intermediate_size,
            spec.num_attention_heads,
            tokens,
            has_dropout=spec.hidden_dropout_prob > 0,
            keeps_table=spec.attention_probs_dropout_prob > 0,
            qkv_bias=spec.qkv_bias,
        )
    yield Layer(2 * width, tokens * width)
    if isinstance(spec, ASTSpec):
        yield Layer(2 * width, 2 * width)


def _wav2vec2(spec: Wav2Vec2Spec, samples: int) -> Iterator[Layer]:
    inputs, width, counts = 1, spec.hidden_size, frames(spec, samples)
    for index, (outputs, kernel, count) in enumerate(
        zip(spec.conv_dim, spec.conv_kernel, counts, strict=True)
    ):
        normed = index == 0 or spec.feat_extract_norm == "layer"
        learnt = inputs * outputs * kernel + (outputs if spec.conv_bias else 0) + 2 * outputs * normed
        yield Layer(learnt, outputs * count * (4 if normed else 2))
        inputs = outputs
    tokens = counts[-1]
    yield Layer(2 * inputs, inputs * tokens)
    yield linear(inputs, width, 2 * tokens)
    # The convolution for positions: its weights are a direction, and a length per place of the filter.
    kernel = spec.num_conv_pos_embeddings
    direction = width * (width // spec.num_conv_pos_embedding_groups) * kernel
    yield Layer(direction + kernel + width, 4 * tokens * width)
    yield Layer(2 * width, 2 * tokens * width)
    for _ in range(spec.num_hidden_layers):
        yield from _encoder_layer(
            width,
            spec.intermediate_size,
            spec.num_attention_heads,
            tokens,
            has_dropout=spec.hidden_dropout > 0 or spec.activation_dropout > 0,
            keeps_table=spec.attention_dropout > 0,
        )
    yield linear(width, spec.classifier_proj_size, tokens)


def _bert(spec: BertSpec, tokens: int, vocab_size: int) -> Iterator[Layer]:
    width = spec.hidden_size
    rows = (spec.vocab_size or vocab_size) + positions(spec, tokens) + spec.type_vocab_size
    yield Layer(rows * width + 2 * width, 6 * tokens * width)
    for _ in range(spec.num_hidden_layers):
        yield from _encoder_layer(
            width,
            spec.intermediate_size,
            spec.num_attention_heads,
            tokens,
            has_dropout=spec.hidden_dropout_prob > 0,
            keeps_table=spec.attention_probs_dropout_prob > 0,
        )
    yield linear(width, width, 2)


def _distilbert(spec: DistilBertSpec, tokens: int, vocab_size: int) -> Iterator[Layer]:
    width = spec.dim
    rows = (spec.vocab_size or vocab_size) + positions(spec, tokens)
    yield Layer(rows * width + 2 * width, 5 * tokens * width)
    for _ in range(spec.n_layers):
        yield from _encoder_layer(
            width,
            spec.hidden_dim,
            spec.n_heads,
            tokens,
            has_dropout=spec.dropout > 0,
            keeps_table=spec.attention_dropout > 0,
        )
    yield linear(width, width, 2)


def _encoder_layer(
    width: int,
    inner: int,
    heads: int,
    tokens: int,
    *,
    has_dropout: bool,
    keeps_table: bool,
    qkv_bias: bool = True,
) -> Iterator[Layer]:
    """Attention and two linear layers, each with a norm and a sum around it."""
    for _ in range(3):
        yield linear(width, width, tokens, bias=qkv_bias)
    # Only attention with dropout keeps its table of tokens x tokens: scores, softmax, mask and product.
    yield Layer(0, 2 * tokens * width + (4 * heads * tokens**2 if keeps_table else 0))
    yield linear(width, width, tokens)
    yield linear(width, inner, tokens)
    yield Layer(0, tokens * inner)
    yield linear(inner, width, tokens)
    masks = 2 * tokens * width if has_dropout else 0
    yield Layer(4 * width, 4 * tokens * width + masks)
