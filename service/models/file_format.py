"""What a model file is: safetensors, a student bundle or ONNX; what can run code is never opened."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Literal

from fdkd_core.errors import InputError, Problem, quote
from fdkd_core.file_heads import (
    HEAD_BYTES,
    UNSAFE_ADVICE,
    ZIP_EMPTY,
    ZIP_START,
    unsafe_by_head,
    unsafe_by_name,
)
from service import zip_directory
from service.errors import UnsafeFormatError
from service.models.safetensors_file import check_header, looks_like_safetensors

ModelFormat = Literal["safetensors", "bundle", "onnx"]

WEIGHTS = "model.safetensors"
"""What makes a zip a bundle."""

_UNSAFE_MEMBERS = (".pkl", ".pickle", ".pt", ".pth", ".npy", ".h5", ".bin", ".py", ".joblib", ".keras")
"""Suffixes inside a zip: torch.save and TorchScript (data.pkl), torch.export, Keras, npz, pickled parts."""
_ONNX_HEAD = re.compile(rb"\x08[\x01-\x1e][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
"""A protobuf with ir_version (1 to 30), then another field of a model."""
_MAX_DIRECTORY_BYTES = 4 << 20
"""A bundle has fewer than ten files; more is read to recognise what torch.save made of a large model."""


def refuse_name(file_name: str) -> None:
    """Refuses a file by its suffix alone.

    Raises:
        UnsafeFormatError: Files of this name can run code.
    """
    found = unsafe_by_name(file_name)
    if found is not None:
        raise _unsafe(file_name, found)


def identify(path: Path, file_name: str) -> ModelFormat:
    """Tells the format of a model file, by its first bytes whatever its name.

    Args:
        path: The file.
        file_name: As its sender calls it.

    Raises:
        UnsafeFormatError: Another loader would run code from it.
        InputError: `unsupported_format`, `invalid_safetensors` or `invalid_onnx`. Whether ONNX may be run at
            all, the worker tells.
    """
    refuse_name(file_name)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if looks_like_safetensors(head):
        check_header(path)
        return "safetensors"
    if head.startswith((ZIP_START, ZIP_EMPTY)):
        _require_bundle(path, file_name)
        return "bundle"
    found = unsafe_by_head(head)
    if found is not None:
        raise _unsafe(file_name, found)
    if _ONNX_HEAD.match(head):
        return "onnx"
    suffix = PurePath(file_name).suffix.lower()
    if suffix == ".onnx":
        detail = f"{quote(file_name)} begins with {quote(head[:8])}, as no ONNX file does."
        raise InputError(Problem("invalid_onnx", detail))
    if suffix == ".safetensors":
        check_header(path)  # which says what is wrong with it
    raise _unsupported(f"{quote(file_name)} begins with {quote(head[:8])}")


def _require_bundle(path: Path, file_name: str) -> None:
    names = zip_directory.member_names(path, max_directory_bytes=_MAX_DIRECTORY_BYTES)
    unsafe = next((name for name in names or () if name.lower().endswith(_UNSAFE_MEMBERS)), None)
    if unsafe is not None:
        raise _unsafe(
            file_name, f"a zip with {quote(unsafe)} in it (torch.save, TorchScript, Keras or numpy)"
        )
    if names is None or WEIGHTS not in names:
        raise _unsupported(f"{quote(file_name)} is a zip without {WEIGHTS} at its top, so no bundle")


def _unsafe(file_name: str, what: str) -> UnsafeFormatError:
    return UnsafeFormatError(f"{quote(file_name)} is {what}. {UNSAFE_ADVICE}")


def _unsupported(what: str) -> InputError:
    detail = f"{what}. Taken are .safetensors, .onnx, and the .zip of a bundle or Hugging Face folder."
    return InputError(Problem("unsupported_format", detail))
