"""From an architecture's spec and the input it is to eat, to the network: the checks, then the builder."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, NoReturn

import torch

from fdkd_core.errors import IncompatibleError, Problem
from fdkd_core.modalities.base import KindName
from fdkd_core.models.base import Backbone
from fdkd_core.models.conv1d import Conv1d
from fdkd_core.models.conv2d import Conv2d
from fdkd_core.models.mlp import MLP
from fdkd_core.models.resnet import AUTO_LARGE_SIDE, MIN_SIDE, ResNet18
from fdkd_core.models.text_transformer import TextTransformer
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)

MAX_PARAMETERS = 250_000_000
"""1 GB of weights, 4 GB in training with Adam; a wide MLP over a large image would ask for far more, and
an ONNX file is limited to 2 GB."""


class Target(NamedTuple):
    """What a network has to fit."""

    input_shape: tuple[int, ...]
    """Shape of one sample, without the batch."""
    num_classes: int
    vocab_size: int | None
    """Number of token ids; None for float inputs."""
    pointer: str
    """Where the architecture stands in the user's spec, for error messages."""

    def refuse(self, detail: str, field: str = "", code: str = "incompatible_architecture") -> NoReturn:
        """Says no at `pointer + field`."""
        raise IncompatibleError(Problem(code, detail, self.pointer + field))

    def require_axes(self, name: str, axes: tuple[str, ...]) -> None:
        """Refuses token ids, and float inputs with another number of axes than `axes`."""
        wanted = f"{name} takes float inputs [{', '.join(axes)}]"
        if self.vocab_size is not None:
            self.refuse(f"{wanted}, not token ids; text takes text_transformer.")
        if len(self.input_shape) != len(axes):
            other = {1: "mlp", 2: "conv1d or mlp", 3: "conv2d, resnet18 or mlp"}.get(
                len(self.input_shape), "mlp"
            )
            self.refuse(f"{wanted}; this modality gives {list(self.input_shape)}, which {other} takes.")


def _build_resnet18(spec: ResNet18Spec, target: Target) -> Backbone:
    target.require_axes(spec.name, ("channels", "height", "width"))
    channels, *sides = target.input_shape
    stem = spec.stem
    if stem == "auto":
        stem = "large" if min(sides) >= AUTO_LARGE_SIDE else "small"
    if min(sides) < MIN_SIDE[stem]:
        target.refuse(
            f"resnet18 with the {stem} stem needs both sides to be at least {MIN_SIDE[stem]}; "
            f"this modality gives {sides}."
            + (" The small stem takes sides from 8." if stem == "large" else ""),
            "/stem" if spec.stem == "large" else "",
        )
    return ResNet18(channels, target.num_classes, spec.width, stem)


def _build_conv2d(spec: Conv2dSpec, target: Target) -> Backbone:
    target.require_axes(spec.name, ("channels", "height", "width"))
    _require_length(target, min(target.input_shape[1:]), spec.depth, "both sides")
    return Conv2d(target.input_shape[0], target.num_classes, spec.width, spec.depth, spec.dropout)


def _build_conv1d(spec: Conv1dSpec, target: Target) -> Backbone:
    target.require_axes(spec.name, ("channels", "time"))
    channels, length = target.input_shape
    if spec.kernel % 2 == 0:
        target.refuse(f"kernel must be odd; it is {spec.kernel}.", "/kernel")
    _require_length(target, length, spec.depth, "the length")
    return Conv1d(channels, target.num_classes, spec.width, spec.depth, spec.kernel, spec.dropout)


def _build_mlp(spec: MLPSpec, target: Target) -> Backbone:
    if target.vocab_size is not None:
        target.refuse("mlp takes float inputs, not token ids; text takes text_transformer.")
    return MLP(prod(target.input_shape), target.num_classes, spec.width, spec.depth, spec.dropout)


def _build_text_transformer(spec: TextTransformerSpec, target: Target) -> Backbone:
    if target.vocab_size is None or len(target.input_shape) != 1:
        target.refuse(
            "text_transformer takes token ids of a text modality; this modality gives float inputs "
            f"{list(target.input_shape)}."
        )
    if spec.width % spec.heads != 0:
        target.refuse(f"width {spec.width} must be a multiple of heads {spec.heads}.", "/heads")
    return TextTransformer(
        target.vocab_size,
        target.input_shape[0],
        target.num_classes,
        spec.width,
        spec.depth,
        spec.heads,
        spec.dropout,
    )


def _require_length(target: Target, length: int, depth: int, what: str) -> None:
    allowed = length.bit_length() - 1
    if depth > allowed:
        target.refuse(
            f"depth {depth} halves the input {depth} times, so {what} must be at least {2**depth}; this "
            f"modality gives {list(target.input_shape)}, "
            + (
                f"which allows depth 1 to {allowed}."
                if allowed
                else "too little for any depth; mlp takes it."
            ),
            "/depth",
        )


ARCHITECTURES: dict[type[ArchitectureSpec], Callable[[Any, Target], Backbone]] = {
    ResNet18Spec: _build_resnet18,
    Conv2dSpec: _build_conv2d,
    Conv1dSpec: _build_conv1d,
    MLPSpec: _build_mlp,
    TextTransformerSpec: _build_text_transformer,
}
"""The registry: its keys are exactly the members of `ArchitectureSpec`."""

_DEFAULTS: dict[KindName, type[ArchitectureSpec]] = {
    "image": Conv2dSpec,
    "depth": Conv2dSpec,
    "audio": Conv2dSpec,
    "series": Conv1dSpec,
    "vector": MLPSpec,
    "text": TextTransformerSpec,
}


def build_model(
    spec: ArchitectureSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocab_size: int | None = None,
    *,
    pointer: str = "/architecture",
) -> Backbone:
    """Builds the network that `spec` names, with fresh weights from torch's global generator.

    Args:
        spec: A member of `ArchitectureSpec`.
        input_shape: Shape of one sample without the batch: [channels, height, width], [channels, time],
            [values], or [tokens] for text.
        num_classes: Classes, at least 1.
        vocab_size: Number of token ids for text, at least 1; None for float inputs.
        pointer: Where `spec` stands in the job specification, for error messages.

    Returns:
        The network on the CPU, in training mode.

    Raises:
        IncompatibleError: The architecture cannot take that input, or would have more than
            `MAX_PARAMETERS` parameters.
    """
    if num_classes < 1 or not input_shape or min(input_shape) < 1 or (vocab_size or 1) < 1:
        raise ValueError(f"empty model: {input_shape=}, {num_classes=}, {vocab_size=}")
    target = Target(tuple(input_shape), num_classes, vocab_size, pointer)
    builder = ARCHITECTURES[type(spec)]
    with torch.device("meta"):  # sizes without memory, and without a draw from the generator
        parameters = sum(parameter.numel() for parameter in builder(spec, target).parameters())
    if parameters > MAX_PARAMETERS:
        target.refuse(
            f"{spec.name} would have {parameters:,} parameters for inputs {list(input_shape)}; at most "
            f"{MAX_PARAMETERS:,} are allowed: lower width or depth.",
            code="exceeds_limit",
        )
    return builder(spec, target)


def default_architecture(kind: KindName) -> ArchitectureSpec:
    """The architecture for a kind of modality whose user named none: small enough for a CPU."""
    return _DEFAULTS[kind]()
