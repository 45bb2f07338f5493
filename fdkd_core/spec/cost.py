"""What a network costs, counted from its spec alone: parameters, and memory in training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import resnet_stem
from fdkd_core.spec.dense import DenseSpec
from fdkd_core.spec.dense_cost import dense_layers
from fdkd_core.spec.hugging_face.cost import hugging_face_layers
from fdkd_core.spec.layers import Layer, conv_and_norm, halved, linear

MAX_PARAMETERS = 250_000_000
"""1 GB of weights, 4 GB in training with Adam; a wide MLP over a large image would ask for far more, and
an ONNX file is limited to 2 GB."""
COPIES_OF_WEIGHTS = 5
"""Weights, gradients, two slots of Adam, the best epoch's copy."""
COPIES_OF_ACTIVATIONS = 2
"""Outputs kept for backward, and their gradients at the peak."""
USABLE_FRAC = 0.9
"""Share of a machine's memory that a training may plan for."""
_FLOAT_BYTES = 4
_BLOCKS_PER_STAGE = 2
_STAGES = 4


@lru_cache(maxsize=1024)  # asked anew with every job that is posted
def parameters(
    architecture: ArchitectureSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocab_size: int | None = None,
) -> int:
    """Learnt numbers of the network that `build_model` would make, exactly.

    Args:
        architecture: Fits the input (`catalogue.architecture_problems`).
        input_shape: Shape of one sample, without the batch.
        num_classes: Classes.
        vocab_size: Number of token ids; None for float inputs.
    """
    return sum(layer.parameters for layer in _layers(architecture, input_shape, num_classes, vocab_size))


@lru_cache(maxsize=1024)
def training_bytes(
    architecture: ArchitectureSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocab_size: int | None = None,
    *,
    batch_size: int,
) -> int:
    """Estimated memory of training the network, in bytes: weights, optimiser, activations of one batch.

    On the safe side: 1.4 to 2.2 times what six networks of all kinds took on a CPU.

    Args: as for `parameters`, and `batch_size` in samples.
    """
    layers = list(_layers(architecture, input_shape, num_classes, vocab_size))
    weights = sum(layer.parameters + layer.statistics for layer in layers)
    outputs = prod(input_shape) + sum(layer.outputs for layer in layers)
    return _FLOAT_BYTES * (COPIES_OF_WEIGHTS * weights + COPIES_OF_ACTIVATIONS * batch_size * outputs)


def machine_memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def size_problems(
    architecture: ArchitectureSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocab_size: int | None,
    pointer: str,
) -> list[Problem]:
    """A problem `exceeds_limit` where the network has more than `MAX_PARAMETERS`. Args: as `parameters`."""
    count = parameters(architecture, input_shape, num_classes, vocab_size)
    if count <= MAX_PARAMETERS:
        return []
    detail = (
        f"{architecture.name} would have {count:,} parameters for inputs {list(input_shape)}; at most "
        f"{MAX_PARAMETERS:,} are allowed: lower width or depth."
    )
    return [Problem("exceeds_limit", detail, pointer)]


def memory_problems(needed_bytes: int, memory_bytes: int, batch_size: int, pointer: str) -> list[Problem]:
    """A problem `exceeds_limit` where a training needs more than `USABLE_FRAC` of `memory_bytes`."""
    what, remedy = f"training with batches of {batch_size}", "lower width, depth or training.batch_size"
    return room_problems(needed_bytes, memory_bytes, what, remedy, pointer)


def room_problems(
    needed_bytes: int, memory_bytes: int, what: str, remedy: str, pointer: str
) -> list[Problem]:
    """The same for `what` needs them, in the singular, and what to do about it."""
    usable = int(USABLE_FRAC * memory_bytes)
    if needed_bytes <= usable:
        return []
    detail = (
        f"{what} needs about {needed_bytes / 2**30:.1f} GiB; {usable / 2**30:.1f} GiB are usable: {remedy}"
    )
    return [Problem("exceeds_limit", detail, pointer)]


def _layers(
    architecture: Any, input_shape: tuple[int, ...], num_classes: int, vocab_size: int | None
) -> Iterator[Layer]:
    match architecture:
        case ResNet18Spec():
            yield from _resnet18(architecture, input_shape, num_classes)
        case Conv2dSpec():
            yield from _conv_blocks(architecture, 9, input_shape, num_classes)
        case Conv1dSpec():
            yield from _conv_blocks(architecture, architecture.kernel, input_shape, num_classes)
        case MLPSpec():
            yield from _mlp(architecture, prod(input_shape), num_classes)
        case TextTransformerSpec():
            yield from _text_transformer(architecture, input_shape[0], num_classes, vocab_size or 0)
        case _ if isinstance(architecture, DenseSpec):
            yield from dense_layers(architecture, input_shape, num_classes)
        case _:
            yield from hugging_face_layers(architecture, input_shape, num_classes, vocab_size or 0)


def _conv_blocks(
    spec: Conv1dSpec | Conv2dSpec, taps: int, input_shape: tuple[int, ...], num_classes: int
) -> Iterator[Layer]:
    inputs, *sides = input_shape
    for block in range(spec.depth):
        outputs = spec.width * 2**block
        yield conv_and_norm(inputs, outputs, taps, prod(sides))
        yield Layer(0, outputs * prod(sides))  # ReLU
        sides = [side // 2 for side in sides]
        # Pooling keeps an index of 8 bytes beside each value of 4.
        yield Layer(0, 3 * outputs * prod(sides))
        inputs = outputs
    yield Layer(0, inputs * (2 if spec.dropout else 1))
    yield linear(inputs, num_classes)


def _resnet18(spec: ResNet18Spec, input_shape: tuple[int, ...], num_classes: int) -> Iterator[Layer]:
    channels, *sides = input_shape
    if resnet_stem(spec, input_shape) == "large":
        sides = halved(sides)
        yield conv_and_norm(channels, spec.width, 49, prod(sides))
        yield Layer(0, spec.width * prod(sides))
        sides = halved(sides)
        yield Layer(0, 3 * spec.width * prod(sides))
    else:
        yield conv_and_norm(channels, spec.width, 9, prod(sides))
        yield Layer(0, spec.width * prod(sides))
    inputs = spec.width
    for stage in range(_STAGES):
        outputs = spec.width * 2**stage
        for block in range(_BLOCKS_PER_STAGE):
            shrinks = stage > 0 and block == 0
            sides = halved(sides) if shrinks else sides
            positions = prod(sides)
            yield conv_and_norm(inputs, outputs, 9, positions)
            yield conv_and_norm(outputs, outputs, 9, positions)
            if shrinks:
                yield conv_and_norm(inputs, outputs, 1, positions)
            yield Layer(0, 3 * outputs * positions)  # two ReLUs and the sum
            inputs = outputs
    yield Layer(0, inputs)
    yield linear(inputs, num_classes)


def _mlp(spec: MLPSpec, inputs: int, num_classes: int) -> Iterator[Layer]:
    for _ in range(spec.depth):
        yield linear(inputs, spec.width)
        yield Layer(0, spec.width * (2 if spec.dropout else 1))
        inputs = spec.width
    yield linear(inputs, num_classes)


def _text_transformer(
    spec: TextTransformerSpec, tokens: int, num_classes: int, vocab_size: int
) -> Iterator[Layer]:
    width = spec.width
    masks = 1 if spec.dropout else 0
    yield Layer((vocab_size + tokens) * width, (1 + masks) * tokens * width)
    # Only attention with dropout keeps its table of tokens x tokens: scores, softmax, mask and product.
    table = 4 * spec.heads * tokens**2 if spec.dropout else 0
    for _ in range(spec.depth):
        for inputs, outputs in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            yield Layer(inputs * outputs + outputs, tokens * outputs)
        # Two norms, the attended values, GELU, two sums; a dropout on each branch.
        yield Layer(4 * width, (9 + 2 * masks) * tokens * width + table)
    yield Layer(2 * width, tokens * width)
    yield Layer(0, (1 + masks) * width)
    yield linear(width, num_classes)
