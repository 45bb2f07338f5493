"""The report on a model: what a job must know to take it as a teacher (`fdkd_core.spec.compatibility`).

That on an ONNX file is made where it is read: `fdkd_core.onnx_files.network`.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from fdkd_core.bundle.report import bundle_report
from fdkd_core.errors import ModelFileError
from fdkd_core.models import build_model
from fdkd_core.models.safetensors_header import TensorEntry
from fdkd_core.models.weights import fit_problems, read_entries, read_weights
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dFPNSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import AUTO_LARGE_SIDE, MIN_SIDE, data_dimensions
from fdkd_core.spec.cost import parameters
from fdkd_core.spec.dense import DenseSpec, smallest_picture
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
from fdkd_core.spec.hugging_face.sizes import shortest_waveform, smallest_side

__all__ = ["bundle_report", "check_weights", "weights_report"]

_PATCHES = {
    "channels": ("encoder.embeddings.patch_embeddings.projection.weight", 1),
    "positions": ("encoder.embeddings.position_embeddings", 1),
}
_TOKENS = {
    "vocab_size": ("encoder.embeddings.word_embeddings.weight", 0),
    "max_tokens": ("encoder.embeddings.position_embeddings.weight", 0),
}
_SIZES: dict[type[ArchitectureSpec], dict[str, tuple[str, int]]] = {
    ResNet18Spec: {"channels": ("conv1.weight", 1), "kernel": ("conv1.weight", 3)},
    Conv2dSpec: {"channels": ("blocks.0.0.weight", 1)},
    Conv1dSpec: {"channels": ("blocks.0.0.weight", 1)},
    MLPSpec: {"inputs": ("hidden.1.weight", 1)},
    TextTransformerSpec: {"vocab_size": ("tokens", 0), "max_tokens": ("positions", 0)},
    MobileNetV2Spec: {"channels": ("encoder.conv_stem.first_conv.convolution.weight", 1)},
    ResNetSpec: {"channels": ("encoder.embedder.embedder.convolution.weight", 1)},
    ConvNextSpec: {"channels": ("encoder.embeddings.patch_embeddings.weight", 1)},
    ViTSpec: _PATCHES,
    ASTSpec: _PATCHES,
    Wav2Vec2Spec: {},
    BertSpec: _TOKENS,
    DistilBertSpec: _TOKENS,
    Conv2dFPNSpec: {"channels": ("blocks.0.0.weight", 1)},
    SegformerSpec: {"channels": ("encoder.stages.0.patch_embeddings.proj.weight", 1)},
    MobileNetV2DeepLabSpec: {"channels": ("encoder.conv_stem.first_conv.convolution.weight", 1)},
}
"""Tensor and axis by which weights tell what data they were made for."""
_LARGE_KERNEL = 7
_MAX_SIZE = 1 << 30


def weights_report(path: str | os.PathLike[str], architecture: ArchitectureSpec) -> dict[str, Any]:
    """What the header of a weights file tells, held against an architecture; the values are not read.

    Raises:
        ModelFileError: As for `load_weights`, but for the values.
        IncompatibleError: The architecture would be too large, or is not possible at all.
    """
    entries = read_entries(path)
    size = _size_of(entries, architecture)
    problems = fit_problems(entries, _expected(size))
    if problems:
        raise ModelFileError(problems)
    return {
        "format": "safetensors",
        "modality_kind": None,
        "input_shape": None,
        "vocab_size": None,
        "source_channels": None,
        "classes": None,
        "parameters": parameters(*size),
        "architecture": architecture.model_dump(mode="json"),
        "dimensions": data_dimensions(*size),
    }


def check_weights(path: str | os.PathLike[str], architecture: ArchitectureSpec) -> None:
    """Reads the weights and throws them away.

    Raises:
        ModelFileError: As for `load_weights`.
        IncompatibleError: As for `weights_report`.
    """
    read_weights(path, _expected(_size_of(read_entries(path), architecture)))


def _expected(size: tuple[ArchitectureSpec, tuple[int, ...], int, int | None]) -> dict[str, Tensor]:
    with torch.device("meta"):  # names, shapes and types, without memory
        return build_model(*size).state_dict()


def _size_of(
    entries: dict[str, TensorEntry], architecture: ArchitectureSpec
) -> tuple[ArchitectureSpec, tuple[int, ...], int, int | None]:
    """The smallest input and the classes that the weights can be for; 1 where they do not tell."""

    def size(name: str, axis: int) -> int:
        entry = entries.get(name)
        found = entry.shape[axis] if entry is not None and axis < len(entry.shape) else 1
        return min(max(found, 1), _MAX_SIZE)

    sizes = {what: size(*where) for what, where in _SIZES[type(architecture)].items()}
    num_classes = size("classifier.weight", 0)
    if isinstance(architecture, TextTransformerSpec | BertSpec | DistilBertSpec):
        return architecture, (sizes["max_tokens"],), num_classes, sizes["vocab_size"]
    if isinstance(architecture, MLPSpec):
        return architecture, (sizes["inputs"],), num_classes, None
    if isinstance(architecture, Conv1dSpec):
        return architecture, (sizes["channels"], 2**architecture.depth), num_classes, None
    if isinstance(architecture, Wav2Vec2Spec):
        return architecture, (1, shortest_waveform(architecture)), num_classes, None
    if isinstance(architecture, ViTSpec | ASTSpec):
        # Which picture it was is not told, but how many patches it had: all of them in one row.
        special, step = 1, architecture.patch_size
        if isinstance(architecture, ASTSpec):
            special, step = 2, architecture.time_stride
        row = architecture.patch_size + (max(sizes["positions"] - special, 1) - 1) * step
        return architecture, (sizes["channels"], architecture.patch_size, row), num_classes, None
    if isinstance(architecture, MobileNetV2Spec | ResNetSpec | ConvNextSpec):
        side = smallest_side(architecture)
    elif isinstance(architecture, DenseSpec):
        side = smallest_picture(architecture)
    elif isinstance(architecture, Conv2dSpec):
        side = 2**architecture.depth
    elif architecture.stem == "auto":
        side = AUTO_LARGE_SIDE if sizes["kernel"] == _LARGE_KERNEL else MIN_SIDE["small"]
    else:
        side = MIN_SIDE[architecture.stem]
    return architecture, (sizes["channels"], side, side), num_classes, None
