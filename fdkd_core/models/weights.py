"""Weights in and out of a network: safetensors only, and only those that fit it exactly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as render_safetensors
from torch import Tensor, nn

from fdkd_core.atomic_files import write_atomic
from fdkd_core.bundle.regular_file import open_regular
from fdkd_core.bundle.unsafe_format import refuse_unsafe_format
from fdkd_core.errors import ModelFileError, Problem, first_problems
from fdkd_core.models.safetensors_header import (
    TensorEntry,
    header_length,
    parse_header,
)

_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def render_weights(model: nn.Module) -> bytes:
    """Parameters and buffers as a safetensors file: equal bytes for equal weights."""
    return render_tensors(model.state_dict())


def render_tensors(state: Mapping[str, Tensor]) -> bytes:
    """Named tensors as a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    rendered: bytes = render_safetensors(tensors, metadata={"format": "pt"})
    return rendered


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes `render_weights`, whole or not at all.

    Raises:
        StorageError: The disk is full or failing.
    """
    write_atomic(path, render_weights(model))


def load_weights(path: str | os.PathLike[str], model: nn.Module) -> None:
    """Replaces the weights of `model` by those of a safetensors file, or leaves it as it is and says why.

    Raises:
        ModelFileError: With every problem found: `not_found`, `unsafe_format` (a format that can run code),
            `invalid_safetensors`, `missing_tensor`, `unexpected_tensor`, `wrong_shape`, `wrong_dtype`,
            `not_finite` or `all_zero`.
    """
    model.load_state_dict(read_weights(path, model.state_dict()))


def read_weights(path: str | os.PathLike[str], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file that announces exactly those of `expected`, which may be empty ones.

    Raises:
        ModelFileError: As for `load_weights`.
    """
    data = _read(path, expected)
    try:
        tensors = parse_safetensors(data)
    except SafetensorError as error:
        raise ModelFileError(
            Problem("invalid_safetensors", "The safetensors library refuses the file.")
        ) from error
    problems = value_problems(tensors)
    if problems:
        raise ModelFileError(problems)
    result: dict[str, Tensor] = tensors
    return result


def read_entries(path: str | os.PathLike[str]) -> dict[str, TensorEntry]:
    """What the header of a safetensors file announces; the data are not read.

    Raises:
        ModelFileError: `not_found`, `unsafe_format` or `invalid_safetensors`.
    """
    file, size = open_regular(path, follow_links=True)
    with file:
        return _read_header(file, size, path)[1]


def _read(path: str | os.PathLike[str], expected: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file whose header announces exactly `expected`: nothing larger is ever read."""
    file, size = open_regular(path, follow_links=True)
    with file:
        header, entries = _read_header(file, size, path)
        problems = fit_problems(entries, expected)
        if problems:
            raise ModelFileError(problems)
        return header + file.read(size - len(header))


def _read_header(
    file: BinaryIO, size: int, path: str | os.PathLike[str]
) -> tuple[bytes, dict[str, TensorEntry]]:
    start = file.read(16)
    refuse_unsafe_format(os.fspath(path), start)
    length = header_length(start)
    file.seek(8)
    header = file.read(length)
    return start[:8] + header, parse_header(header, size - 8 - length)


def fit_problems(found: Mapping[str, TensorEntry], expected: Mapping[str, Tensor]) -> list[Problem]:
    """How the announced tensors differ from those of the network, whose values do not matter."""
    missing = [f"{name} is missing" for name in expected if name not in found]
    unexpected = [f"{name} is not part of this architecture" for name in found if name not in expected]
    shapes, dtypes = [], []
    for name, tensor in expected.items():
        entry = found.get(name)
        if entry is None:
            continue
        if entry.shape != tuple(tensor.shape):
            shapes.append(f"{name} has shape {list(entry.shape)}, expected {list(tensor.shape)}")
        if entry.dtype != _DTYPES[tensor.dtype]:
            dtypes.append(f"{name} has dtype {entry.dtype}, expected {_DTYPES[tensor.dtype]}")
    return [
        *first_problems("missing_tensor", missing),
        *first_problems("unexpected_tensor", unexpected),
        *first_problems("wrong_shape", shapes),
        *first_problems("wrong_dtype", dtypes),
    ]


def value_problems(tensors: dict[str, Tensor]) -> list[Problem]:
    """Weights that no training leaves behind."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    not_finite = [
        f"{name} has values that are NaN or infinite"
        for name, tensor in floats.items()
        if not bool(torch.isfinite(tensor).all())
    ]
    # Biases are often all zero, and so is a freshly added layer; a network without one weight is empty.
    matrices = [tensor for tensor in floats.values() if tensor.ndim > 1]
    all_zero = bool(matrices) and not any(bool(tensor.any()) for tensor in matrices)
    return [
        *first_problems("not_finite", not_finite),
        *first_problems("all_zero", ["all weight matrices are zero"] if all_zero else []),
    ]
