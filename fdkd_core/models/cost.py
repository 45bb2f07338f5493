"""What a network costs: parameters, multiply-adds per sample, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fdkd_core.models.base import Backbone


def parameter_count(model: nn.Module) -> int:
    """Learnt numbers; the running statistics of batch norm are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def size_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers, hence of the weights file up to its header."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def multiply_adds(model: Backbone, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one sample's forward: convolutions, linear layers and attention.

    Norms, activations and pooling are left out, as is usual; a multiply-add is two operations.

    Args:
        model: Any network of the registry; its mode is left as found.
        input_shape: Shape of one sample, without the batch.
    """
    device = next(model.parameters()).device
    # Ids of one: a real token everywhere, hence the longest text.
    inputs = torch.ones((1, *input_shape), dtype=model.input_dtype, device=device)
    modes = {module: module.training for module in model.modules()}
    counter = _Operations()  # type: ignore[no-untyped-call]
    try:
        # The fused attention kernels of the CPU are not counted; the plain one is two counted products.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model.eval()(inputs)
    finally:
        for module, training in modes.items():
            module.training = training
    return counter.total // 2


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what torch's own table says of each operation, as `FlopCounterMode` does.

    But that brings in the compiler, a second for every job that compiles nothing.
    """

    total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the compiler is imported to be told to keep out

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **kwargs, out_val=out))
        return out
