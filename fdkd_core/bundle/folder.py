"""Reading a bundle folder that someone else may have made. No torch until the network is built."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle.config import (
    MAX_RECIPE_BYTES,
    MAX_TOKENIZER_BYTES,
    PLOT,
    BundleConfig,
    Manifest,
    read_json,
    read_model,
)
from fdkd_core.bundle.regular_file import open_regular, read_limited
from fdkd_core.bundle.unsafe_format import refuse_unsafe_format
from fdkd_core.errors import ModelFileError, Problem, quote
from fdkd_core.modalities.base import Recipe
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.spec.architectures import ArchitectureSpec

if TYPE_CHECKING:
    from fdkd_core.models.base import Backbone

WEIGHTS, CONFIG, ONNX, INT8 = "model.safetensors", "config.json", "model.onnx", "model.int8.onnx"
PREPROCESS, LABELS, TOKENIZER = "preprocess.json", "labels.json", "tokenizer.json"
CARD, MANIFEST = "README.md", "manifest.json"
BUNDLE_FILES = frozenset({WEIGHTS, CONFIG, ONNX, INT8, PREPROCESS, LABELS, TOKENIZER, CARD, PLOT})
"""What a manifest may list. No path is ever made from any other name."""

_REQUIRED = frozenset({WEIGHTS, CONFIG, PREPROCESS, LABELS})

MAX_ENTRIES = 100
MAX_LABEL_CHARACTERS = 256


@dataclass(frozen=True)
class Bundle:
    """A model folder whose files were checked; `model` reads the weights."""

    path: Path
    config: BundleConfig
    preprocessor: Preprocessor
    """`preprocess.json`, with the tokenizer back in its place."""
    classes: list[str]
    """`labels.json`: class names by index."""
    manifest: Manifest | None

    @property
    def recipe(self) -> Recipe:
        """What the preprocessor does, as JSON."""
        return self.preprocessor.to_json()

    @property
    def architecture(self) -> ArchitectureSpec:
        """What the weights fit."""
        return self.config.architecture

    @cached_property
    def model(self) -> Backbone:
        """The network with its weights, on the CPU, in eval mode; read when first asked for.

        Raises:
            ModelFileError: The weights are refused.
            IncompatibleError: The architecture cannot take the input that config.json states.
        """
        from fdkd_core.models import build_model
        from fdkd_core.models.weights import load_weights

        config = self.config
        model = build_model(config.architecture, config.input_shape, config.num_classes, config.vocab_size)
        if str(model.input_dtype) != f"torch.{config.input_dtype}":
            raise _refusal(
                "invalid_value", f"config.json: input_dtype must be {str(model.input_dtype).split('.')[1]}"
            )
        load_weights(self.path / WEIGHTS, model)
        return model.eval()


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Checks a student's or teacher's folder and reads everything but the weights.

    A folder made elsewhere needs the weights, config.json, preprocess.json and labels.json. Where there is a
    manifest, every file must be listed in it and match its hash.

    Raises:
        ModelFileError: `not_found`, `unsafe_format`, `unsafe_entry` (links, folders), `unlisted_file`,
            `hash_mismatch`, `not_allowed` (an unknown architecture, a field that asks for code),
            `invalid_json`, `invalid_value` or `exceeds_limit`; and what `Preprocessor` says of the recipe.
    """
    folder = Path(path)
    present = _list_files(folder)
    manifest = None
    if MANIFEST in present:
        manifest = read_model(Manifest, folder / MANIFEST)
        _verify(folder, manifest, present)
    config = read_model(BundleConfig, folder / CONFIG)
    preprocessor = Preprocessor(_read_recipe(folder, config))
    return Bundle(folder, config, preprocessor, _read_labels(folder, config), manifest)


def _list_files(folder: Path) -> set[str]:
    """Names of the regular files, or a refusal of what does not belong into a model folder."""
    try:
        entries: list[os.DirEntry[str]] = []
        with os.scandir(folder) as listing:
            for entry in listing:
                if len(entries) == MAX_ENTRIES:
                    raise _refusal("exceeds_limit", f"the folder has more than {MAX_ENTRIES} entries")
                entries.append(entry)
    except OSError as error:
        raise _refusal("not_found", f"{quote(folder.name)} is not a folder that can be read") from error
    for entry in entries:
        if not entry.is_file(follow_symlinks=False):
            raise _refusal(
                "unsafe_entry", f"{quote(entry.name)} is not a regular file; links and folders are not read"
            )
        refuse_unsafe_format(entry.name, b"")
    names = {entry.name for entry in entries if not entry.name.startswith(".")}
    missing = sorted(_REQUIRED - names)
    if missing:
        raise _refusal("not_found", f"{', '.join(missing)} must be in the folder")
    return names


def _verify(folder: Path, manifest: Manifest, present: set[str]) -> None:
    problems = [
        Problem("unlisted_file", f"{quote(name)} is in the folder but not in manifest.json.")
        for name in sorted(present - manifest.files.keys() - {MANIFEST})
    ]
    for name, entry in sorted(manifest.files.items()):
        if name not in BUNDLE_FILES:
            problems.append(
                Problem("unsafe_entry", f"manifest.json lists {quote(name)}, not a file of a bundle.")
            )
        elif name not in present:
            problems.append(Problem("not_found", f"{name} is in manifest.json but not in the folder."))
        else:
            file, size = open_regular(folder / name)
            file.close()
            if size != entry.bytes or sha256_file(folder / name) != entry.sha256:
                problems.append(
                    Problem("hash_mismatch", f"{name} is not the file that manifest.json describes.")
                )
    if problems:
        raise ModelFileError(problems[:10])


def _read_recipe(folder: Path, config: BundleConfig) -> Recipe:
    recipe: Any = read_json(folder / PREPROCESS, MAX_RECIPE_BYTES)
    if not isinstance(recipe, dict):
        raise _refusal("invalid_value", "preprocess.json is not a JSON object")
    if (
        recipe.get("input_shape") != list(config.input_shape)
        or recipe.get("input_dtype") != config.input_dtype
    ):
        raise _refusal(
            "invalid_value",
            f"preprocess.json gives {quote(recipe.get('input_dtype'))} {quote(recipe.get('input_shape'))}; "
            f"config.json wants {config.input_dtype} {list(config.input_shape)}",
        )
    if recipe.get("kind") == "text":
        try:
            recipe["tokenizer"] = read_limited(folder / TOKENIZER, MAX_TOKENIZER_BYTES).decode()
        except UnicodeDecodeError as error:
            raise _refusal("invalid_json", "tokenizer.json is not UTF-8") from error
    return recipe


def _read_labels(folder: Path, config: BundleConfig) -> list[str]:
    labels: Any = read_json(folder / LABELS, MAX_RECIPE_BYTES)
    if not isinstance(labels, list) or not all(
        isinstance(label, str) and len(label) <= MAX_LABEL_CHARACTERS for label in labels
    ):
        raise _refusal(
            "invalid_value", f"labels.json is not a list of texts of up to {MAX_LABEL_CHARACTERS} characters"
        )
    if len(labels) != config.num_classes or len(set(labels)) != len(labels):
        raise _refusal(
            "invalid_value",
            f"labels.json must have {config.num_classes} different labels, as config.json says",
        )
    return labels


def _refusal(code: str, detail: str) -> ModelFileError:
    return ModelFileError(Problem(code, f"{detail}."))
