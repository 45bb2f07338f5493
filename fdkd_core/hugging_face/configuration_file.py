"""`config.json` of a Hugging Face folder: which network of the allow-list it is, and its classes' names.

Keys that are not known are ignored: there are hundreds, most of them about training or generation. Those that
would make it another network than the one built here, or that ask for code, are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fdkd_core.errors import ModelFileError, Problem, quote
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    ConvNextSpec,
    DistilBertSpec,
    HuggingFaceSpec,
    MobileNetV2Spec,
    ResNetSpec,
    ViTSpec,
    Wav2Vec2Spec,
)
from fdkd_core.spec.hugging_face.dense import DenseHuggingFaceSpec, MobileNetV2DeepLabSpec, SegformerSpec
from fdkd_core.spec.loading import problems_of

HubSpec = HuggingFaceSpec | DenseHuggingFaceSpec
"""Architectures that a folder may hold."""

MODEL_TYPES: dict[str, type[HubSpec]] = {
    "mobilenet_v2": MobileNetV2Spec,
    "resnet": ResNetSpec,
    "convnext": ConvNextSpec,
    "vit": ViTSpec,
    "audio-spectrogram-transformer": ASTSpec,
    "wav2vec2": Wav2Vec2Spec,
    "bert": BertSpec,
    "distilbert": DistilBertSpec,
    "segformer": SegformerSpec,
}
"""The allow-list, by `model_type`."""
BY_PIXEL: dict[str, type[DenseHuggingFaceSpec]] = {
    "SegformerForSemanticSegmentation": SegformerSpec,
    "MobileNetV2ForSemanticSegmentation": MobileNetV2DeepLabSpec,
}
"""What `architectures` makes of them."""
_MODEL_TYPE_OF: dict[type[HubSpec], str] = {
    SegformerSpec: "segformer",
    MobileNetV2DeepLabSpec: "mobilenet_v2",
}

# What a missing key means, where it is not the default of our own spec.
_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_TEXT = {"vocab_size": 30522, "max_position_embeddings": 512}
PACKAGE_DEFAULTS: dict[type[HubSpec], dict[str, Any]] = {
    MobileNetV2Spec: {"depth_multiplier": 1.0, "classifier_dropout_prob": 0.8},
    ResNetSpec: {
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
    },
    ConvNextSpec: {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    ViTSpec: {**_BASE, "patch_size": 16},
    ASTSpec: _BASE,
    Wav2Vec2Spec: {**_BASE, "conv_dim": [512] * 7},
    BertSpec: {**_BASE, **_TEXT},
    DistilBertSpec: {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, **_TEXT},
    SegformerSpec: {"drop_path_rate": 0.1},
    MobileNetV2DeepLabSpec: {"depth_multiplier": 1.0, "output_stride": 32, "classifier_dropout_prob": 0.8},
}

_CODE_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines")
_OTHER_NETWORK: dict[str, tuple[Any, ...]] = {
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "position_embedding_type": ("absolute", None),
    "use_weighted_layer_sum": (False, None),
    "add_adapter": (False, None),
    "adapter_attn_dim": (None,),
    "pruned_heads": ({}, None),
    "reshape_last_stage": (True, None),
    "quantization_config": (None,),
    "problem_type": ("single_label_classification", None),
}
"""Keys, and the values with which the network is the one that is built here."""
_GENERIC_LABEL = re.compile(r"LABEL_([0-9]{1,6})")
MAX_CLASSES = 20_000
_ARCHITECTURE: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)


@dataclass(frozen=True)
class Configuration:
    """What config.json says."""

    architecture: HubSpec
    num_channels: int
    """Of pictures; 3 where it is not said."""
    labels: list[str] | None
    """Names of the classes by index; None where it has none."""

    @property
    def by_pixel(self) -> bool:
        """Whether the network answers by pixel."""
        return isinstance(self.architecture, DenseHuggingFaceSpec)


def read_configuration(document: Any) -> Configuration:
    """Takes what is known of a parsed config.json.

    Raises:
        ModelFileError: `not_allowed` for another `model_type`, for what asks for code and for what makes it
            another network; `out_of_range` and the like for sizes beyond ours; `invalid_value` for labels.
    """
    if not isinstance(document, dict):
        raise _refusal("invalid_value", "is not a JSON object")
    asks = [key for key in _CODE_KEYS if key in document]
    if asks:
        raise _refusal("not_allowed", "asks for code of its own, which is never run", f"/{asks[0]}")
    found = document.get("model_type")
    kind = MODEL_TYPES.get(found) if isinstance(found, str) else None
    if kind is None:
        detail = f"found {quote(found)}; allowed are {', '.join(MODEL_TYPES)}"
        raise _refusal("not_allowed", detail, "/model_type")
    kind = _kind_by_pixel(document, str(found)) or kind
    for key, usual in _OTHER_NETWORK.items():
        if key in document and document[key] not in usual:
            detail = f"found {quote(document[key], 80)}, which makes it another network than `{found}` here"
            raise _refusal("not_allowed", detail, f"/{key}")
    channels = document.get("num_channels", 3)
    if type(channels) is not int or channels not in (1, 3):
        detail = f"found {quote(channels)}; pictures have 1 or 3 channels"
        raise _refusal("out_of_range", detail, "/num_channels")
    spec = _architecture(kind, document)
    if isinstance(spec, SegformerSpec) and document.get("num_encoder_blocks", 4) != len(spec.depths):
        detail = f"found {quote(document.get('num_encoder_blocks', 4))}; there are {len(spec.depths)} depths"
        raise _refusal("not_allowed", detail, "/num_encoder_blocks")
    return Configuration(spec, channels, _labels(document))


def _kind_by_pixel(document: dict[str, Any], model_type: str) -> type[DenseHuggingFaceSpec] | None:
    """What `architectures` says of a `model_type` that has networks by pixel and others; None for others."""
    named = document.get("architectures")
    names = named if isinstance(named, list) else []
    found = next((BY_PIXEL[name] for name in names if isinstance(name, str) and name in BY_PIXEL), None)
    return found if found is not None and model_type == _MODEL_TYPE_OF[found] else None


def _architecture(kind: type[HubSpec], document: dict[str, Any]) -> HubSpec:
    fields = {"name": kind.model_fields["name"].default}
    for name in kind.model_fields.keys() - {"name"}:
        if name in document:
            fields[name] = document[name]
        elif name in PACKAGE_DEFAULTS[kind]:
            fields[name] = PACKAGE_DEFAULTS[kind][name]
    size = fields.get("patch_size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        fields["patch_size"] = size[0]
    try:
        spec = _ARCHITECTURE.validate_json(json.dumps(fields))
    except ValidationError as error:
        raise ModelFileError(
            Problem(found.code, f"config.json: {found.detail}.", found.pointer)
            for found in problems_of(error, fields)
        ) from None
    assert isinstance(spec, HubSpec)
    return spec


def _labels(document: dict[str, Any]) -> list[str] | None:
    """Names by index. `LABEL_0`, as the package calls classes without a name, becomes `0`."""
    names = document.get("id2label")
    if names is None:
        return None
    if not isinstance(names, dict) or not 1 <= len(names) <= MAX_CLASSES:
        raise _refusal("invalid_value", f"is not a map of 1 to {MAX_CLASSES} names", "/id2label")
    labels = [names.get(str(index)) for index in range(len(names))]
    if not all(isinstance(label, str) and 0 < len(label) <= 256 for label in labels):
        detail = f"must map 0 to {len(names) - 1} to texts of up to 256 characters"
        raise _refusal("invalid_value", detail, "/id2label")
    generic = [_GENERIC_LABEL.fullmatch(str(label)) for label in labels]
    if all(match is not None and int(match.group(1)) == index for index, match in enumerate(generic)):
        return [str(index) for index in range(len(labels))]
    if len(set(labels)) != len(labels):
        raise _refusal("invalid_value", "gives one name to several classes", "/id2label")
    return [str(label) for label in labels]


def _refusal(code: str, detail: str, pointer: str | None = None) -> ModelFileError:
    return ModelFileError(Problem(code, f"config.json: {detail}.", pointer))
