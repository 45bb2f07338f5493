"""From a spec and its input to the configuration object of the transformers package.

The package is imported inside the functions: it takes seconds, which only jobs that name such a network pay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fdkd_core.models.target import Target
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
from fdkd_core.spec.hugging_face.sizes import positions

ATTENTION = "sdpa"
"""torch's fused attention, as in our own transformer. It exports to ONNX with parity; so does `eager`."""


def configuration(spec: HuggingFaceSpec, target: Target) -> Any:
    """The package's configuration of the network: the fields of the spec, and what the data decide."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in spec.model_dump(exclude={"name"}).items()
    }
    with quiet():
        made = _CONFIGURATIONS[type(spec)](spec, fields, target)
    if not isinstance(spec, MobileNetV2Spec | ResNetSpec | ConvNextSpec):  # which have no attention
        made._attn_implementation = ATTENTION
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what the package logs about itself, such as optional libraries that are absent."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _mobilenet_v2(spec: MobileNetV2Spec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.mobilenet_v2 import MobileNetV2Config

    return MobileNetV2Config(**fields, num_channels=target.input_shape[0])


def _resnet(spec: ResNetSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.resnet import ResNetConfig

    return ResNetConfig(**fields, num_channels=target.input_shape[0])


def _convnext(spec: ConvNextSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.convnext import ConvNextConfig

    return ConvNextConfig(**fields, num_channels=target.input_shape[0], num_stages=len(spec.depths))


def _vit(spec: ViTSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.vit import ViTConfig

    channels, height, width = target.input_shape
    return ViTConfig(**fields, num_channels=channels, image_size=(height, width))


def _ast(spec: ASTSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.audio_spectrogram_transformer import ASTConfig

    _, bands, frames = target.input_shape
    return ASTConfig(**fields, num_mel_bins=bands, max_length=frames)


def _wav2vec2(spec: Wav2Vec2Spec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.wav2vec2 import Wav2Vec2Config

    # SpecAugment draws from numpy's global generator, which a checkpoint does not hold.
    return Wav2Vec2Config(
        **fields, apply_spec_augment=False, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0
    )


def _bert(spec: BertSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.bert import BertConfig

    return BertConfig(**(fields | _text_sizes(spec, target)))


def _distilbert(spec: DistilBertSpec, fields: dict[str, Any], target: Target) -> Any:
    from transformers.models.distilbert import DistilBertConfig

    return DistilBertConfig(**(fields | _text_sizes(spec, target)))


def _text_sizes(spec: BertSpec | DistilBertSpec, target: Target) -> dict[str, Any]:
    return {
        "vocab_size": spec.vocab_size or target.vocab_size,
        "max_position_embeddings": positions(spec, target.input_shape[0]),
        "pad_token_id": 0,  # as our text modality pads
    }


_CONFIGURATIONS: dict[type[HuggingFaceSpec], Any] = {
    MobileNetV2Spec: _mobilenet_v2,
    ResNetSpec: _resnet,
    ConvNextSpec: _convnext,
    ViTSpec: _vit,
    ASTSpec: _ast,
    Wav2Vec2Spec: _wav2vec2,
    BertSpec: _bert,
    DistilBertSpec: _distilbert,
}
