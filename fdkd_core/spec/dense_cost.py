"""What networks that answer by pixel cost, and what teaching by pixel does: counted from the spec alone."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from fdkd_core.spec.architectures import Conv2dFPNSpec
from fdkd_core.spec.dense import DenseSpec, dense_dim, map_size, segformer_sizes
from fdkd_core.spec.hugging_face.cost import mobilenet_blocks, padded_conv
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec, SegformerSpec
from fdkd_core.spec.hugging_face.sizes import MOBILENET_STAGES, mobilenet_channels
from fdkd_core.spec.layers import Layer, conv_and_norm, linear
from fdkd_core.spec.methods import CIRKDSpec, MethodSpec, parts_of

_FLOAT_BYTES = 4
STORED_BYTES = 2
"""Of a number in the maps that are kept of a teacher: they are in half precision."""
_ANSWER_COPIES = 4
"""At the size of the masks: logits that were enlarged, their log-softmax, and the gradients of both."""
_TAUGHT_COPIES = 8
"""At the size of the teacher's map: features and logits of both, what is made of them, and gradients."""
_ASKED_COPIES = 4
"""Of an ONNX file's answers: its own, those as float32, those of all chunks together, and half precision."""
ROWS_ASKED = 32
"""At a time, of a network that answers by pixel."""
SCORES_AT_ONCE = 1 << 24
"""At a time, once they are enlarged to inputs or masks: 64 MiB of float32."""
_TABLE_COPIES = 4
"""Of all places against all: similarities of both sides, and their gradients."""


def dense_layers(architecture: DenseSpec, input_shape: tuple[int, ...], num_classes: int) -> Iterator[Layer]:
    """Args: as `fdkd_core.spec.cost.parameters`."""
    match architecture:
        case Conv2dFPNSpec():
            yield from _fpn(architecture, input_shape)
        case SegformerSpec():
            yield from _segformer(architecture, input_shape)
        case MobileNetV2DeepLabSpec():
            yield from _deeplab(architecture, input_shape)
    width, places = dense_dim(architecture), prod(map_size(architecture, input_shape))
    yield Layer(0, 2 * width * places)  # with the channels last, and what a dropout leaves
    yield linear(width, num_classes, places)


def answer_bytes(num_classes: int, mask_shape: tuple[int, ...], batch_size: int) -> int:
    """What the loss of a batch takes beside the network, in bytes."""
    return _FLOAT_BYTES * _ANSWER_COPIES * batch_size * num_classes * prod(mask_shape)


def map_numbers(architecture: DenseSpec, input_shape: tuple[int, ...], num_classes: int) -> int:
    """How many numbers a network's maps of one picture have, features and logits together."""
    return (dense_dim(architecture) + num_classes) * prod(map_size(architecture, input_shape))


def stored_bytes(numbers: int, rows: int) -> int:
    """What a teacher's maps of all training rows take in memory, in bytes: they are computed once.

    Args:
        numbers: In the maps of a row, as `map_numbers` counts them.
        rows: For training.
    """
    return STORED_BYTES * rows * numbers


def asked_bytes(numbers: int) -> int:
    """What a frozen teacher's maps take while it is asked, beside those that are kept. Args: as above."""
    return _FLOAT_BYTES * _ASKED_COPIES * ROWS_ASKED * numbers


def taught_bytes(method: MethodSpec, numbers: int, batch_size: int) -> int:
    """What a method takes for a batch, in bytes.

    Args:
        method: As in the spec.
        numbers: In the teacher's maps of a row.
        batch_size: In samples.
    """
    total = 0
    for part in parts_of(method):
        total += _FLOAT_BYTES * _TAUGHT_COPIES * batch_size * numbers
        if isinstance(part, CIRKDSpec):
            places = batch_size * part.side**2
            total += _FLOAT_BYTES * _TABLE_COPIES * places**2
    return total


def _fpn(spec: Conv2dFPNSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    inputs, *sides = input_shape
    maps = []
    for block in range(spec.depth):
        outputs = spec.width * 2**block
        yield conv_and_norm(inputs, outputs, 9, prod(sides))
        yield Layer(0, outputs * prod(sides))  # ReLU
        sides = [side // 2 for side in sides]
        # Pooling keeps an index of 8 bytes beside each value of 4.
        yield Layer(0, 3 * outputs * prod(sides))
        inputs = outputs
        maps.append((outputs, prod(sides)))
    for outputs, places in maps:
        yield linear(outputs, spec.dim, places)
        yield Layer(0, 2 * spec.dim * places)  # enlarged, and the sum
    places = maps[0][1]
    yield conv_and_norm(spec.dim, spec.dim, 9, places)
    yield Layer(0, spec.dim * places)


def _segformer(spec: SegformerSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    inputs = input_shape[0]
    sizes = segformer_sizes(spec, input_shape)
    first = prod(sizes[0])
    stages = zip(
        spec.hidden_sizes, spec.depths, spec.num_attention_heads, spec.patch_sizes, spec.sr_ratios,
        spec.mlp_ratios, sizes, strict=True,
    )  # fmt: skip
    masks = 1 if spec.hidden_dropout_prob or spec.drop_path_rate else 0
    for width, depth, heads, patch, ratio, factor, (height, breadth) in stages:
        places, keys = height * breadth, (height // ratio) * (breadth // ratio)
        yield Layer((inputs * patch**2 + 1) * width, 2 * width * places)
        yield Layer(2 * width, width * places)
        for _ in range(depth):
            yield Layer(4 * width, 2 * width * places)
            yield linear(width, width, places)
            if ratio > 1:
                yield Layer((width * ratio**2 + 1) * width + 2 * width, 3 * width * keys + width * places)
            yield linear(width, width, keys)
            yield linear(width, width, keys)
            # Only attention with dropout keeps its table: scores, softmax, mask and product.
            table = 4 * heads * places * keys if spec.attention_probs_dropout_prob else 0
            yield Layer(0, 2 * width * places + heads * places + table)
            yield linear(width, width, places)
            inner = factor * width
            yield linear(width, inner, places)
            yield Layer(10 * inner, (4 + masks) * inner * places)  # 3x3 on each channel, its copies, GELU
            yield linear(inner, width, places)
            yield Layer(0, (2 + 2 * masks) * width * places)
        yield Layer(2 * width, 2 * width * places)
        yield Layer((width + 1) * spec.decoder_hidden_size, spec.decoder_hidden_size * (places + first))
        inputs = width
    joined = spec.decoder_hidden_size * len(sizes)
    yield Layer(0, joined * first)
    yield conv_and_norm(joined, spec.decoder_hidden_size, 1, first)
    yield Layer(0, spec.decoder_hidden_size * first)


def _deeplab(spec: MobileNetV2DeepLabSpec, input_shape: tuple[int, ...]) -> Iterator[Layer]:
    encoder = spec.encoder
    yield from mobilenet_blocks(encoder, input_shape)
    places, inputs = prod(map_size(spec, input_shape)), mobilenet_channels(encoder, MOBILENET_STAGES[-1])
    dim = dense_dim(spec)
    yield Layer(0, inputs + dim * places)  # pooled, and spread again
    yield padded_conv(encoder, inputs, dim, 1, 1, 1)
    yield padded_conv(encoder, inputs, dim, 1, places, places)
    yield Layer(0, 2 * dim * places)
    yield padded_conv(encoder, 2 * dim, dim, 1, places, places)
