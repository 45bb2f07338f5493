"""Batch normalisation over the batch of all ranks, as one process would have it.

Statistics of a rank's own rows would be those of another batch size: a network that trains on 4 GPUs would
not be the network that trains on one. torch has `SyncBatchNorm` for GPUs only; for CPUs it is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RankBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are over the rows of all ranks, on the CPU.

    Args:
        norm: Whose parameters and buffers it works on.
        group: Of the ranks.
    """

    def __init__(self, norm: _BatchNorm, group: distributed.ProcessGroup) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self._group = group

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 axes, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Of [B, C, ...], normalised by channel."""
        if not self.training and self.track_running_stats:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = torch.tensor([float(input.numel() // input.shape[1])], dtype=input.dtype)
        total = self._sum(torch.cat([input.sum(axes), values]))
        count = float(total[-1].detach())
        mean = total[:-1] / count
        centred = input - mean.view(shape)
        variance = self._sum(centred.square().sum(axes)) / count
        if self.training and self.track_running_stats:
            self._note(mean.detach(), variance.detach() * (count / (count - 1.0)))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            return centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        return centred * scale.view(shape)

    def _sum(self, values: Tensor) -> Tensor:
        return _summed(values, self._group)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, group: distributed.ProcessGroup) -> Tensor:
        ctx.group = group
        total = own.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        distributed.all_reduce(total, group=ctx.group)
        return total, None


_summed: Callable[[Tensor, distributed.ProcessGroup], Tensor] = _SumOverRanks.apply


@contextmanager
def norms_over_ranks(model: nn.Module, cpu_group: distributed.ProcessGroup) -> Iterator[None]:
    """Has the batch norms of a model look at all ranks; afterwards they are the ordinary ones again.

    Parameters and buffers are the same objects throughout, so that optimiser and checkpoints see no change.

    Args:
        model: On its device.
        cpu_group: For networks on the CPU; on GPUs the default group is taken.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, RankBatchNorm | nn.SyncBatchNorm):
                new: nn.Module = RankBatchNorm(child, cpu_group)
                if child.running_mean is not None and child.running_mean.is_cuda:
                    new = nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
                setattr(parent, name, new)
                replaced.append((parent, name, child))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            child.train(getattr(parent, name).training)
            setattr(parent, name, child)
