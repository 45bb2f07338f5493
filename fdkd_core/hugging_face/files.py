"""How a Hugging Face folder is told from a bundle, and what is read of it. No torch."""

from __future__ import annotations

from pathlib import Path

from fdkd_core.bundle.config import read_json
from fdkd_core.bundle.folder import CONFIG, PREPROCESS, TOKENIZER, WEIGHTS
from fdkd_core.errors import ModelFileError

PROCESSOR = "preprocessor_config.json"
TOKENIZER_SETTINGS = "tokenizer_config.json"
HUGGING_FACE_FILES = frozenset({CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_SETTINGS, PROCESSOR})
"""All that is read of a folder; whatever else is in it is left alone."""


def may_be_hugging_face(names: list[str]) -> bool:
    """Whether these are the files of a folder of the hub, by name alone."""
    return CONFIG in names and PREPROCESS not in names


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder is one of the hub: its config.json names a model type, which a bundle's never does."""
    if (folder / PREPROCESS).exists() or not (folder / CONFIG).exists():
        return False
    try:
        document = read_json(folder / CONFIG, follow_links=True)
    except ModelFileError:
        return False
    return isinstance(document, dict) and "model_type" in document
