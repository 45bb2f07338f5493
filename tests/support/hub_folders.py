"""Tiny random networks saved as the transformers package saves them, with preprocessing and tokeniser."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from media_files import sound

WORDS = ["good", "fine", "kind", "bad", "poor", "cruel", "un", "##kind", "##ly", "the", "!", "."]
VOCAB = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
TEXTS = ["Good, unkind!", "the kindly [SEP] fine.", "", "bad " * 40, "zzz poor"]
LABELS = {0: "pos", 1: "neg", 2: "either"}

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


class HubModel(NamedTuple):
    """What the package makes of raw values."""

    prepare: Callable[[list[Any]], dict[str, Any]]
    """To the arguments of the network."""
    logits: Callable[[list[Any]], Any]


def save_hub_folder(kind: str, folder: Path, *, labels: dict[int, str] | None = None) -> HubModel:
    """Saves a classifier, and returns it with its preprocessing.

    Args:
        kind: A key of `_MAKERS`.
        folder: Where to.
        labels: Names by index; those of `LABELS` when absent.
    """
    torch.manual_seed(0)
    model, prepare = _MAKERS[kind](folder, {"id2label": labels or LABELS})
    with torch.no_grad():
        for parameter in model.parameters():  # else the head is the same for all inputs but for a hair
            parameter.add_(0.1 * torch.randn_like(parameter))
    if kind in ("mobilenet_v2", "resnet"):
        _warm(model)
    model.eval().save_pretrained(folder)

    @torch.no_grad()
    def logits(values: list[Any]) -> Any:
        return model(**prepare(values)).logits.numpy()

    return HubModel(prepare, logits)


def pictures(rng: np.random.Generator, count: int = 3) -> list[np.ndarray[Any, Any]]:
    """Random pictures with some structure, of several sizes."""
    found = []
    for _ in range(count):
        height, width = rng.integers(40, 90, 2).tolist()
        small = rng.integers(0, 256, (7, 9, 3))
        rows, columns = np.arange(height) * 7 // height, np.arange(width) * 9 // width
        found.append(small[rows][:, columns].astype(np.uint8))
    return found


def sounds(rng: np.random.Generator) -> list[bytes]:
    """Recordings of 16 kHz: longer than any input here, shorter, shorter than a window, and two tones."""
    found = []
    for length, tone in ((20_000, 440), (1_500, 1_000), (300, 2_000), (16_000, 3_000)):
        time = np.arange(length) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * tone * time) + 0.05 * rng.standard_normal(length) + 0.02
        found.append(sound(wave, 16_000))
    return found


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Changes keys of a JSON file; None removes one."""
    path = folder / name
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def _warm(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(8, 3, 32, 32))


def _vit(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.vit import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    model = ViTForImageClassification(ViTConfig(**_ENCODER, image_size=32, patch_size=8, **names))
    return model, _picture(folder, ViTImageProcessorPil(size={"height": 32, "width": 32}))


def _resnet(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.resnet import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **names)
    mean = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875, **mean)
    return ResNetForImageClassification(config), _picture(folder, processor)


def _convnext(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.convnext import ConvNextConfig, ConvNextForImageClassification
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    config = ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, **names)
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 384})
    return ConvNextForImageClassification(config), _picture(folder, processor)


def _mobilenet_v2(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.mobilenet_v2 import MobileNetV2Config, MobileNetV2ForImageClassification
    from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import (
        MobileNetV2ImageProcessorPil,
    )

    model = MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.1, **names))
    processor = MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 36}
    )
    return model, _picture(folder, processor)


def _bert(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.bert import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": len(VOCAB) + 3, "max_position_embeddings": 16}
    return BertForSequenceClassification(BertConfig(**_ENCODER, **sizes, **names)), _text(folder)


def _distilbert(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.distilbert import DistilBertConfig, DistilBertForSequenceClassification

    sizes = {"vocab_size": len(VOCAB), "max_position_embeddings": 16}
    config = DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **sizes, **names)
    return DistilBertForSequenceClassification(config), _text(folder)


def _ast(folder: Path, names: dict[str, Any]) -> Any:
    from transformers.models.audio_spectrogram_transformer import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTForAudioClassification,
    )

    sizes = {"num_mel_bins": 40, "max_length": 64}
    extractor = ASTFeatureExtractor(**sizes)
    extractor.save_pretrained(folder)

    def prepare(values: list[Any]) -> dict[str, Any]:
        return dict(
            extractor([_samples(value) for value in values], sampling_rate=16_000, return_tensors="pt")
        )

    return ASTForAudioClassification(ASTConfig(**_ENCODER, **sizes, **names)), prepare


def _wav2vec2(folder: Path, names: dict[str, Any], length: int = 4_000) -> Any:
    from transformers.models.wav2vec2 import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    convolutions = {"conv_dim": [8, 8, 8], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4]}
    places = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    config = Wav2Vec2Config(**_ENCODER, **convolutions, **places, classifier_proj_size=20, **names)
    extractor = Wav2Vec2FeatureExtractor(max_length=length)
    extractor.save_pretrained(folder)

    def prepare(values: list[Any]) -> dict[str, Any]:
        # Each by itself, so that padding has no part in the norm.
        found = torch.zeros(len(values), length)
        for row, value in zip(found, values, strict=True):
            normed = extractor(_samples(value)[:length], sampling_rate=16_000)["input_values"][0]
            row[: len(normed)] = torch.from_numpy(normed)
        return {"input_values": found}

    return Wav2Vec2ForSequenceClassification(config), prepare


def _samples(recording: bytes) -> np.ndarray[Any, Any]:
    samples, rate_hz = soundfile.read(io.BytesIO(recording), dtype="float32")
    assert rate_hz == 16_000
    return np.asarray(samples)


def _picture(folder: Path, processor: Any) -> Callable[[list[Any]], dict[str, Any]]:
    processor.save_pretrained(folder)
    return lambda values: {"pixel_values": processor(images=values, return_tensors="pt")["pixel_values"]}


def _text(folder: Path) -> Callable[[list[Any]], dict[str, Any]]:
    from transformers.models.bert import BertTokenizer

    tokenizer = BertTokenizer(vocab=dict(VOCAB), model_max_length=16)
    tokenizer.save_pretrained(folder)

    def prepare(values: list[Any]) -> dict[str, Any]:
        # As text alone: that "[SEP]" in a text ends it is nothing to imitate.
        texts = [value.replace("[SEP]", "[ SEP ]") for value in values]
        found = tokenizer(texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    return prepare


_MAKERS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "vit": _vit,
    "resnet": _resnet,
    "convnext": _convnext,
    "mobilenet_v2": _mobilenet_v2,
    "bert": _bert,
    "distilbert": _distilbert,
    "ast": _ast,
    "wav2vec2": _wav2vec2,
    "wav2vec2-long": partial(_wav2vec2, length=80_000),
}
KINDS_OF = {
    name: "text" if "bert" in name else "audio" if name.startswith(("ast", "wav2vec2")) else "image"
    for name in _MAKERS
}
"""Kind of modality by network."""
