"""Decoders that fail as C code does. A child process imports them by name."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np

from fdkd_core.modalities.base import RawValue, Recipe, RowError

RECIPE: Recipe = {"input_shape": [2]}


def misbehave(raw: RawValue, recipe: Recipe) -> np.ndarray[Any, Any]:
    """Does what the value says; `row N` gives [N, process id]."""
    assert isinstance(raw, bytes)
    if raw == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if raw == b"exit":
        os._exit(0)
    if raw == b"spin":
        while True:
            pass
    if raw == b"allocate":
        return np.ones(1 << 32, np.uint8)
    if raw == b"raise":
        raise KeyError("a bug of a library")
    if raw == b"refuse":
        raise RowError("invalid_image", "no good")
    if raw == b"write":
        with open("/tmp/written-by-decoder", "wb") as file:
            file.write(b"x")
        return np.zeros(2, np.float32)
    if raw == b"open":
        files = [open("/dev/null") for _ in range(1000)]  # noqa: SIM115
        return np.full(2, len(files), np.float32)
    if raw == b"environment":
        return np.array([len(os.environ), "SECRET" in os.environ], np.float32)
    return np.array([float(raw.split()[1]), os.getpid()], np.float32)


def report_torch(raw: RawValue, recipe: Recipe) -> np.ndarray[Any, Any]:
    """[1] where the process has imported torch, else [0]."""
    return np.array(["torch" in sys.modules], np.float32)


def misbehave_as_image(raw: RawValue, recipe: Recipe) -> np.ndarray[Any, Any]:
    """Dies on files that say so, and otherwise gives an image filled with their last byte."""
    assert isinstance(raw, bytes)
    if raw.endswith(b"die"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return np.full(recipe["input_shape"], raw[-1], np.uint8)
