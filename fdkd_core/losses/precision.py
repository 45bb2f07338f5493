"""Distances are computed in fp32 whatever the training precision.

`torch.fft` has no bf16, and sums of squares over hundreds of channels lose what distinguishes good features
from perfect ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Args = ParamSpec("Args")
Result = TypeVar("Result")


def full_precision(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Runs `function` outside autocast with half-precision tensor arguments raised to fp32."""

    @functools.wraps(function)
    def in_full_precision(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device_type=device, enabled=False):
            return function(*map(_raised, args), **{k: _raised(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return in_full_precision


def _raised(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
