"""`model.safetensors` of a Hugging Face folder under the names of our networks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from fdkd_core.bundle.regular_file import read_limited
from fdkd_core.errors import ModelFileError, Problem, first_problems
from fdkd_core.hugging_face.configuration_file import HubSpec
from fdkd_core.models.safetensors_header import TensorEntry
from fdkd_core.models.weights import read_entries, value_problems
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
from fdkd_core.spec.hugging_face.dense import DenseHuggingFaceSpec, MobileNetV2DeepLabSpec, SegformerSpec

MAX_WEIGHTS_BYTES = 2 << 30
"""Twice our largest network: checkpoints bring heads that are left out."""
_FLOATS = ("F16", "BF16", "F32", "F64")
_COUNTER = "num_batches_tracked"
_LAST = "classifier.weight"
_UNUSED = ("mobilenet_v2.conv_1x1.",)
"""In files of networks by pixel, what nothing reads, there as here. What else is not known makes another
network."""

_PREFIXES: dict[type[HubSpec], str] = {
    MobileNetV2Spec: "mobilenet_v2",
    ResNetSpec: "resnet",
    ConvNextSpec: "convnext",
    ViTSpec: "vit",
    ASTSpec: "audio_spectrogram_transformer",
    Wav2Vec2Spec: "wav2vec2",
    BertSpec: "bert",
    DistilBertSpec: "distilbert",
    SegformerSpec: "segformer",
    MobileNetV2DeepLabSpec: "mobilenet_v2",
}
"""What the package calls the encoder inside a network with a head."""
_HEADS: dict[type[HubSpec], dict[str, str]] = {
    ResNetSpec: {"classifier.1.": "classifier."},
    ASTSpec: {"classifier.dense.": "classifier.", "classifier.layernorm.": "head_norm."},
    Wav2Vec2Spec: {"classifier.": "classifier.", "projector.": "projector."},
    DistilBertSpec: {"classifier.": "classifier.", "pre_classifier.": "pre_classifier."},
    SegformerSpec: {
        "decode_head.classifier.": "classifier.",
        "decode_head.linear_c.": "head.linear_projections.",
        "decode_head.": "head.",
    },
    MobileNetV2DeepLabSpec: {
        "segmentation_head.classifier.convolution.": "classifier.",
        "segmentation_head.": "head.",
    },
}
"""Beginnings of names in the file, the longer ones first, and ours."""
_PLAIN_HEAD = {"classifier.": "classifier."}

_PATCHES = (
    (r"encoder\.layer\.", "layers."),
    (r"attention\.attention\.(query|key|value)\.", r"attention.\1_proj."),
    (r"attention\.(q|k|v)[a-z]+_proj\.", r"attention.\1_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
_RENAMED: dict[type[HubSpec], tuple[tuple[str, str], ...]] = {
    ViTSpec: _PATCHES,
    ASTSpec: _PATCHES,
    BertSpec: ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    Wav2Vec2Spec: (
        (r"conv\.weight_g$", "conv.parametrizations.weight.original0"),
        (r"conv\.weight_v$", "conv.parametrizations.weight.original1"),
    ),
    SegformerSpec: (
        (r"^encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
        (r"^encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
        (r"^encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
        (r"attention\.self\.(q|k|v)[a-z]+\.", r"attention.\1_proj."),
        (r"attention\.self\.sr\.", "attention.sequence_reduction.sequence_reduction."),
        (r"attention\.self\.layer_norm\.", "attention.sequence_reduction.layer_norm."),
        (r"attention\.output\.dense\.", "attention.o_proj."),
        (r"mlp\.dense(\d)\.", r"mlp.fc\1."),
        (r"layer_norm_1\.", "layernorm_before."),
        (r"layer_norm_2\.", "layernorm_after."),
    ),
}
"""Names in files, most of which the package writes to this day, and those inside the network."""


@dataclass(frozen=True)
class ImportedWeights:
    """Tensors that fit a network."""

    tensors: dict[str, Tensor]
    """By our names; floats as float32. Of a file without a head, those of the head are missing."""
    left_out: list[str]
    """Names in the file that are no part of the network."""


def encoder_entries(
    path: str | os.PathLike[str], architecture: HubSpec
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """What the header announces, by our names, and how each is called in the file; the data are not read.

    The last layer of a network by pixel is a 1x1 convolution in the file, and as a Linear here.

    Raises:
        ModelFileError: As `read_entries`.
    """
    entries = read_entries(path)
    names = {ours: theirs for theirs, ours in _our_names(entries, architecture).items()}
    found = {ours: entries[theirs] for ours, theirs in names.items()}
    last = found.get(_LAST)
    if isinstance(architecture, DenseHuggingFaceSpec) and last is not None and last.shape[2:] == (1, 1):
        found[_LAST] = replace(last, shape=last.shape[:2])
    return found, names


def read_imported(
    path: str | os.PathLike[str],
    architecture: HubSpec,
    expected: Mapping[str, Tensor],
    *,
    may_lack: Iterable[str] = (),
) -> ImportedWeights:
    """The tensors of a file that a network has.

    Args:
        path: model.safetensors.
        architecture: Of the network.
        expected: Its tensors, which may be empty ones.
        may_lack: Beginnings of names that the file need not have, or may have in another shape.

    Raises:
        ModelFileError: As `fdkd_core.models.weights.read_weights`, but for tensors that the network lacks:
            these are refused of a network by pixel that lacks nothing itself.
    """
    entries, names = encoder_entries(path, architecture)
    optional = tuple(may_lack)
    missing, shapes, dtypes = [], [], []
    taken: dict[str, str] = {}
    for name, tensor in expected.items():
        entry = entries.get(name)
        fits = entry is not None and entry.shape == tuple(tensor.shape)
        if not fits and (name.startswith(optional) if optional else False):
            continue
        if entry is None:
            if not name.endswith(_COUNTER):
                missing.append(f"{name} is missing")
        elif not fits:
            shapes.append(f"{names[name]} has shape {list(entry.shape)}, expected {list(tensor.shape)}")
        elif (entry.dtype in _FLOATS) != tensor.is_floating_point():
            dtypes.append(f"{names[name]} has dtype {entry.dtype}")
        else:
            taken[name] = names[name]
    unknown = []
    if isinstance(architecture, DenseHuggingFaceSpec) and not optional:
        used = {names[ours] for ours in expected if ours in names}
        unknown = [name for name in read_entries(path) if name not in used and not name.startswith(_UNUSED)]
    problems = [
        *first_problems("missing_tensor", missing),
        *first_problems("unexpected_tensor", [f"{name} is not part of this network" for name in unknown]),
        *first_problems("wrong_shape", shapes),
        *first_problems("wrong_dtype", dtypes),
    ]
    if problems:
        raise ModelFileError(problems)
    try:
        stored = parse_safetensors(read_limited(path, MAX_WEIGHTS_BYTES, follow_links=True))
    except SafetensorError as error:
        raise ModelFileError(
            Problem("invalid_safetensors", "The safetensors library refuses the file.")
        ) from error
    left_out = sorted(stored.keys() - set(taken.values()))
    tensors = {
        ours: stored[theirs]
        .to(torch.float32 if stored[theirs].is_floating_point() else torch.int64)
        .reshape(entries[ours].shape)
        for ours, theirs in taken.items()
    }
    problems = value_problems(tensors)
    if problems:
        raise ModelFileError(problems)
    for name in expected.keys() - tensors.keys():  # older files do not count the batches of their norms
        if name.endswith(_COUNTER) and name.removesuffix(_COUNTER) + "running_mean" in tensors:
            tensors[name] = torch.zeros((), dtype=torch.int64)
    return ImportedWeights(tensors, left_out)


def _our_names(entries: Mapping[str, TensorEntry], architecture: HubSpec) -> dict[str, str]:
    """Our name of each tensor of the file that may belong to the network."""
    kind = type(architecture)
    prefix = f"{_PREFIXES[kind]}."
    has_prefix = any(name.startswith(prefix) for name in entries)
    heads = _HEADS.get(kind, _PLAIN_HEAD)
    found: dict[str, str] = {}
    for name in entries:
        head = next((theirs for theirs in heads if name.startswith(theirs)), None)
        if head is not None:
            found[name] = heads[head] + name.removeprefix(head)
        elif name.startswith(prefix) or not has_prefix:
            inner = name.removeprefix(prefix)
            for pattern, replacement in _RENAMED.get(kind, ()):
                inner = re.sub(pattern, replacement, inner)
            found[name] = f"encoder.{inner}"
    return found
