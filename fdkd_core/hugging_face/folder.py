"""A downloaded Hugging Face folder, made into a bundle: what teaches is then one of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fdkd_core.atomic_files import storage_errors, write_atomic, write_json_atomic
from fdkd_core.bundle.config import (
    MAX_JSON_BYTES,
    MAX_TOKENIZER_BYTES,
    BundleConfig,
    read_json,
)
from fdkd_core.bundle.folder import CONFIG, LABELS, PREPROCESS, TOKENIZER, WEIGHTS
from fdkd_core.bundle.regular_file import read_limited
from fdkd_core.bundle.unsafe_format import refuse_unsafe_format
from fdkd_core.errors import IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.hugging_face.configuration_file import Configuration, HubSpec, read_configuration
from fdkd_core.hugging_face.files import PROCESSOR, TOKENIZER_SETTINGS
from fdkd_core.hugging_face.preprocessing import image_recipe, text_recipe
from fdkd_core.hugging_face.sound_preprocessing import sound_recipe, states_length
from fdkd_core.hugging_face.weights import encoder_entries, read_imported
from fdkd_core.modalities.base import Recipe
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.models import build_model
from fdkd_core.models.weights import render_tensors
from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    DistilBertSpec,
    Wav2Vec2Spec,
)
from fdkd_core.spec.tasks import ClassificationSpec, SegmentationSpec

ENCODER = "encoder."
"""How the names of all tensors begin that no head has."""
_MAX_ENTRIES = 1000
_HEAD_PARTS = ("classifier.", "pre_classifier.", "projector.", "head_norm.", "head.", "encoder.pooler.")
"""What weights of another task, such as those of pre-training, may lack."""


def convert_folder(folder: Path, out: Path) -> None:
    """Writes the folder's classifier as a bundle: network, weights, preprocessing and labels, without ONNX.

    Weights become float32. Classes are put in the order in which data has them: by number, or by code point;
    those of a network by pixel stay as they are, since they are the indexes that masks hold.

    Args:
        folder: With config.json, model.safetensors, and preprocessor_config.json or tokenizer.json.
        out: An empty or absent folder.

    Raises:
        ModelFileError: `not_found`, `unsafe_format`, `unsupported_preprocessing`, and what
            `read_configuration`, `read_imported` and `Preprocessor` say.
        StorageError: No room.
    """
    configuration = _configuration(folder)
    spec = configuration.architecture
    recipe = Preprocessor(_recipe(folder, configuration)).to_json()
    path = folder / WEIGHTS
    num_classes = _num_classes(path, configuration)
    size = (spec, tuple(recipe["input_shape"]), num_classes, recipe.get("vocab_size"))
    try:
        with torch.device("meta"):
            expected = build_model(*size).state_dict()
    except IncompatibleError as error:
        raise ModelFileError(error.problems) from None
    imported = read_imported(path, spec, expected)
    labels = configuration.labels or [str(index) for index in range(num_classes)]
    order = _data_order(labels, by_pixel=configuration.by_pixel)
    tensors = dict(imported.tensors)
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][order].contiguous()
    notes = [*recipe["notes"], *_notes(configuration, labels, order, imported.left_out)]
    config = BundleConfig(
        architecture=spec,
        input_shape=tuple(recipe["input_shape"]),
        input_dtype=recipe["input_dtype"],
        vocab_size=recipe.get("vocab_size"),
        num_classes=num_classes,
        task=SegmentationSpec() if configuration.by_pixel else ClassificationSpec(),
    )
    _write(out, config, recipe | {"notes": notes}, [labels[index] for index in order], tensors)


def read_start(folder: Path) -> tuple[HubSpec, Recipe | None]:
    """Network and preprocessing of a folder that a student is to start from; weights need no classifier.

    Returns:
        The architecture, and the recipe by which its column is read; None for networks of sounds whose folder
        does not say how long their inputs are: they are trained further on what our own preprocessing gives.

    Raises:
        ModelFileError: As for `convert_folder`.
    """
    configuration = _configuration(folder)
    if isinstance(configuration.architecture, ASTSpec | Wav2Vec2Spec) and not (
        (folder / PROCESSOR).exists() and states_length(_json(folder, PROCESSOR), configuration.architecture)
    ):
        return configuration.architecture, None
    return configuration.architecture, Preprocessor(_recipe(folder, configuration)).to_json()


@dataclass(frozen=True)
class StartTensors:
    """What a folder gives a student to begin with."""

    tensors: dict[str, Tensor]
    """By our names; those of the last layer in the order of `classes`."""
    classes: list[str]
    """That the last layer tells apart; empty without one."""
    left_out: list[str]
    """Names in the file that are no part of the network."""


def read_start_tensors(folder: Path, expected: Mapping[str, Tensor], *, encoder_only: bool) -> StartTensors:
    """Weights of a folder that a student is to start from.

    Args:
        folder: As `read_start` took it.
        expected: Tensors of the network that is to be trained.
        encoder_only: That network has another head than the folder's, whatever the shapes of its tensors.

    Raises:
        ModelFileError: As `read_imported`.
    """
    configuration = _configuration(folder)
    wanted = {
        name: tensor for name, tensor in expected.items() if not encoder_only or name.startswith(ENCODER)
    }
    imported = read_imported(folder / WEIGHTS, configuration.architecture, wanted, may_lack=_HEAD_PARTS)
    found = imported.tensors
    last = found.get("classifier.weight")
    labels = configuration.labels or ([] if last is None else [str(index) for index in range(len(last))])
    if last is None or len(labels) != len(last):
        tensors = {name: value for name, value in found.items() if not name.startswith("classifier.")}
        return StartTensors(tensors, [], imported.left_out)
    order = _data_order(labels, by_pixel=configuration.by_pixel)
    ordered = {name: found[name][order] for name in ("classifier.weight", "classifier.bias")}
    return StartTensors({**found, **ordered}, [labels[index] for index in order], imported.left_out)


def _configuration(folder: Path) -> Configuration:
    try:
        names = [entry.name for _, entry in zip(range(_MAX_ENTRIES), os.scandir(folder), strict=False)]
    except OSError as error:
        raise _refusal("not_found", f"{quote(folder.name)} is not a folder that can be read") from error
    for name in sorted(names):
        refuse_unsafe_format(name, b"")
    if WEIGHTS not in names:
        raise _refusal("not_found", f"{WEIGHTS} must be in the folder, in one piece")
    return read_configuration(read_json(folder / CONFIG, follow_links=True))


def _recipe(folder: Path, configuration: Configuration) -> Recipe:
    spec = configuration.architecture
    if isinstance(spec, ASTSpec | Wav2Vec2Spec):
        return sound_recipe(_json(folder, PROCESSOR), spec)
    if not isinstance(spec, BertSpec | DistilBertSpec):
        return image_recipe(
            _json(folder, PROCESSOR), configuration.num_channels, by_pixel=configuration.by_pixel
        )
    settings = _json(folder, TOKENIZER_SETTINGS) if (folder / TOKENIZER_SETTINGS).exists() else None
    try:
        content = read_limited(folder / TOKENIZER, MAX_TOKENIZER_BYTES, follow_links=True).decode()
    except UnicodeDecodeError as error:
        raise _refusal("invalid_json", f"{TOKENIZER} is not UTF-8") from error
    return text_recipe(content, settings, spec)


def _json(folder: Path, name: str) -> Any:
    return read_json(folder / name, MAX_JSON_BYTES, follow_links=True)


def _num_classes(path: Path, configuration: Configuration) -> int:
    """Rows of the classifier, which the names must be as many as.

    Raises:
        ModelFileError: `missing_tensor`: it has none. `invalid_value`: it says nothing of classes.
    """
    entries, _ = encoder_entries(path, configuration.architecture)
    head = entries.get("classifier.weight")
    if head is None or len(head.shape) != 2:
        detail = (
            "the weights have no classifier, so there is nothing that they could teach; the student of a job "
            "run without the service may begin with the folder as it is"
        )
        raise _refusal("missing_tensor", detail)
    rows = head.shape[0]
    if rows < 2:
        raise _refusal("invalid_value", f"the classifier tells {rows} classes apart; at least 2 are needed")
    if configuration.labels is not None and len(configuration.labels) != rows:
        detail = f"config.json names {len(configuration.labels)} classes; the classifier has {rows}"
        raise _refusal("invalid_value", detail)
    return rows


def _data_order(labels: list[str], *, by_pixel: bool) -> list[int]:
    """Indexes of the labels as a dataset numbers its classes (`fdkd_core.data.labels.index_labels`)."""
    if by_pixel:
        return list(range(len(labels)))
    if all(label.isdecimal() and label.isascii() for label in labels):
        return sorted(range(len(labels)), key=lambda index: int(labels[index]))
    return sorted(range(len(labels)), key=lambda index: labels[index])


def _notes(
    configuration: Configuration, labels: list[str], order: list[int], left_out: list[str]
) -> list[str]:
    found = []
    if configuration.labels is None or labels == [str(index) for index in range(len(labels))]:
        found.append(f"classes: config.json has no names for them; called 0 to {len(labels) - 1}")
    if order != list(range(len(order))):
        found.append("classes: put in the order of their names, as data has them")
    if left_out:
        shown = ", ".join(name[:60] for name in left_out[:3])
        found.append(
            f"weights: {len(left_out)} tensors left out that the classifier does not use: {shown}"[:400]
        )
    return found


def _write(
    out: Path, config: BundleConfig, recipe: Recipe, labels: list[str], tensors: dict[str, Tensor]
) -> None:
    with storage_errors():
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(out / CONFIG, config.model_dump(mode="json"))
        write_json_atomic(out / PREPROCESS, {key: recipe[key] for key in recipe if key != "tokenizer"})
        if "tokenizer" in recipe:
            write_atomic(out / TOKENIZER, recipe["tokenizer"].encode())
        write_json_atomic(out / LABELS, labels)
        write_atomic(out / WEIGHTS, render_tensors(tensors))


def _refusal(code: str, detail: str) -> ModelFileError:
    return ModelFileError(Problem(code, f"{detail}."))
