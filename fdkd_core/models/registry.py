"""From an architecture's spec and the input it is to eat, to the network: the checks, then the builder."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from fdkd_core.errors import IncompatibleError
from fdkd_core.models.base import Backbone
from fdkd_core.models.conv1d import Conv1d
from fdkd_core.models.conv2d import Conv2d
from fdkd_core.models.conv2d_fpn import Conv2dFPN
from fdkd_core.models.hugging_face.backbones import (
    build_ast,
    build_bert,
    build_convnext,
    build_distilbert,
    build_mobilenet_v2,
    build_resnet,
    build_vit,
    build_wav2vec2,
)
from fdkd_core.models.hugging_face.dense import build_mobilenet_v2_deeplab, build_segformer
from fdkd_core.models.mlp import MLP
from fdkd_core.models.resnet import ResNet18
from fdkd_core.models.target import Target
from fdkd_core.models.text_transformer import TextTransformer
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dFPNSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import architecture_problems, resnet_stem
from fdkd_core.spec.cost import size_problems
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
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec, SegformerSpec


def _build_resnet18(spec: ResNet18Spec, target: Target) -> Backbone:
    stem = resnet_stem(spec, target.input_shape)
    return ResNet18(target.input_shape[0], target.num_classes, spec.width, stem)


def _build_conv2d(spec: Conv2dSpec, target: Target) -> Backbone:
    return Conv2d(target.input_shape[0], target.num_classes, spec.width, spec.depth, spec.dropout)


def _build_conv2d_fpn(spec: Conv2dFPNSpec, target: Target) -> Backbone:
    channels = target.input_shape[0]
    return Conv2dFPN(channels, target.num_classes, spec.width, spec.depth, spec.dim, spec.dropout)


def _build_conv1d(spec: Conv1dSpec, target: Target) -> Backbone:
    return Conv1d(
        target.input_shape[0], target.num_classes, spec.width, spec.depth, spec.kernel, spec.dropout
    )


def _build_mlp(spec: MLPSpec, target: Target) -> Backbone:
    return MLP(prod(target.input_shape), target.num_classes, spec.width, spec.depth, spec.dropout)


def _build_text_transformer(spec: TextTransformerSpec, target: Target) -> Backbone:
    assert target.vocab_size is not None  # architecture_problems
    return TextTransformer(
        target.vocab_size,
        target.input_shape[0],
        target.num_classes,
        spec.width,
        spec.depth,
        spec.heads,
        spec.dropout,
    )


ARCHITECTURES: dict[type[ArchitectureSpec], Callable[[Any, Target], Backbone]] = {
    ResNet18Spec: _build_resnet18,
    Conv2dSpec: _build_conv2d,
    Conv1dSpec: _build_conv1d,
    MLPSpec: _build_mlp,
    TextTransformerSpec: _build_text_transformer,
    MobileNetV2Spec: build_mobilenet_v2,
    ResNetSpec: build_resnet,
    ConvNextSpec: build_convnext,
    ViTSpec: build_vit,
    ASTSpec: build_ast,
    Wav2Vec2Spec: build_wav2vec2,
    BertSpec: build_bert,
    DistilBertSpec: build_distilbert,
    Conv2dFPNSpec: _build_conv2d_fpn,
    SegformerSpec: build_segformer,
    MobileNetV2DeepLabSpec: build_mobilenet_v2_deeplab,
}
"""The registry: its keys are exactly the members of `ArchitectureSpec`."""


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
    shape = tuple(input_shape)
    problems = architecture_problems(spec, shape, vocab_size, pointer) or size_problems(
        spec, shape, num_classes, vocab_size, pointer
    )
    if problems:
        raise IncompatibleError(problems)
    return ARCHITECTURES[type(spec)](spec, Target(shape, num_classes, vocab_size))
