"""From an optimiser spec to a torch optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fdkd_core.spec import OptimizerSpec, SGDSpec

_GUARDED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _without_compiler(optimizer: type[torch.optim.Optimizer]) -> type[Any]:
    """The optimiser without the guards that keep torch's compiler out of it.

    The guards import the compiler, which takes a second at the start of every run and 100 MB. Nothing here is
    compiled; what the guards wrap is the same code.
    """
    plain = {name: inspect.unwrap(getattr(optimizer, name)) for name in _GUARDED}
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), {**plain, "step": step})


_SGD = _without_compiler(torch.optim.SGD)
_AdamW = _without_compiler(torch.optim.AdamW)


def build_optimizer(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Builds the optimiser; the learning rate is set anew before each step."""
    if isinstance(spec, SGDSpec):
        sgd: torch.optim.Optimizer = _SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            nesterov=spec.nesterov,
        )
        return sgd
    adamw: torch.optim.Optimizer = _AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
    return adamw


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
