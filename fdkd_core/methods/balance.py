"""Weights as ratios of gradient norms, so that one weight means the same for every teacher and method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.9
"""Of the running means of the norms: about the last ten steps decide."""
MAX_FACTOR = 1e3
"""A term whose gradient all but vanishes is not blown up beyond this."""


class GradientBalance(nn.Module):
    """Running norms of the gradients of task loss and distillation terms at the student's feature.

    The feature is what all terms share (the classifier reads it too), so its gradient tells how hard each
    term pulls at the network, at the cost of one backward pass through the classifier per term.

    Terms follow the task down and never up again: the least mean norm of the task's gradient so far is what
    they are measured by. Following it up as well, one step that is too large makes the teacher pull harder,
    which makes the next one larger, until nothing is finite (docs/decisions/0037).

    A step that tells nothing of the scales changes nothing: one whose task has no gradient (a batch of void
    masks, of rows without a positive) would hold the least norm at 0, and one norm that is not finite would
    stay in its running mean, for the rest of training.

    References:
        Chen et al., "GradNorm", ICML 2018, equalise norms at the last shared layer by learning the weights.
        Here the factor is the ratio of the norms itself: nothing is learnt, no rate has to be chosen, and the
        task's norm is bounded by what it has been.

    Args:
        names: Of the distillation terms that are balanced; of a combination these may be some of all.
    """

    norms: Tensor
    """Running means of the task's norm and of the terms', before they are divided by `filled`."""
    filled: Tensor
    """1 less what is left in them of the zeros that they began with."""
    least: Tensor
    """Of the task's running mean so far."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        # Buffers, so that a resumed run goes on with the same factors.
        self.register_buffer("norms", torch.zeros(1 + len(names)))
        self.register_buffer("filled", torch.zeros(()))
        self.register_buffer("least", torch.full((), math.inf))
        self.register_load_state_dict_pre_hook(_fill_in)  # type: ignore[no-untyped-call]

    def factors(
        self,
        task: Tensor,
        terms: Mapping[str, Tensor],
        features: Tensor,
        over_ranks: Callable[[Tensor], Tensor] = lambda norms: norms,
    ) -> dict[str, float]:
        """Takes in this step's gradients; by what each term's weight is multiplied.

        Args:
            task: Mean task loss of the batch.
            terms: Mean of each term, by name.
            features: The student's features, from which all of them were computed.
            over_ranks: From norms over the features of this process to those over all of the batch.

        Returns:
            Least norm of the task's gradient so far / norm of the term's gradient; 1 for a term without one,
            and for all as long as no step could be measured.
        """
        measured = [task, *(terms[name] for name in self.names)]
        found = over_ranks(torch.stack([_norm(term, features) for term in measured]))
        # On the device, as asking for it here would make every step wait for the GPU once more.
        is_measured = found.isfinite().all() & (found[0] > 0)
        norms_now = self.norms.mul(MOMENTUM).add_((1 - MOMENTUM) * found)
        filled_now = self.filled.mul(MOMENTUM).add_(1 - MOMENTUM)
        self.norms.copy_(torch.where(is_measured, norms_now, self.norms))
        self.filled.copy_(torch.where(is_measured, filled_now, self.filled))
        means = self.norms / self.filled  # not a number as long as nothing was measured
        self.least.copy_(torch.where(is_measured, torch.minimum(self.least, means[0]), self.least))
        least, _, *norms = torch.cat([self.least[None], means]).tolist()
        return {
            name: min(least / norm, MAX_FACTOR) if norm > 0 else 1.0
            for name, norm in zip(self.names, norms, strict=True)
        }


def _fill_in(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """What a checkpoint from before there was a bound lacks: its norms stand undivided, as they did."""
    if f"{prefix}norms" in state:
        state.setdefault(f"{prefix}filled", torch.ones(()))
        state.setdefault(f"{prefix}least", torch.full((), math.inf))


def _norm(term: Tensor, features: Tensor) -> Tensor:
    if not term.requires_grad:
        return torch.zeros((), device=features.device)
    (gradient,) = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
    if gradient is None:
        return torch.zeros((), device=features.device)
    norm: Tensor = torch.linalg.vector_norm(gradient.float())
    return norm
