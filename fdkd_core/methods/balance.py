"""Weights as ratios of gradient norms, so that one weight means the same for every teacher and method."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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

    References:
        Chen et al., "GradNorm", ICML 2018, equalise norms at the last shared layer by learning the weights.
        Here the factor is the ratio of the norms itself: nothing is learnt, and no rate has to be chosen.

    Args:
        names: Of the distillation terms that are balanced; of a combination these may be some of all.
    """

    norms: Tensor

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        # A buffer, so that a resumed run goes on with the same factors.
        self.register_buffer("norms", torch.zeros(1 + len(names)))

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
            norm of the task's gradient / norm of the term's gradient; 1 for a term without one.
        """
        measured = [task, *(terms[name] for name in self.names)]
        found = over_ranks(torch.stack([_norm(term, features) for term in measured]))
        self.norms.mul_(MOMENTUM).add_((1 - MOMENTUM) * found)
        # The bias of the zeros they began with is the same for all, and cancels in the ratio.
        task_norm, *norms = self.norms.tolist()
        return {
            name: min(task_norm / norm, MAX_FACTOR) if norm > 0 else 1.0
            for name, norm in zip(self.names, norms, strict=True)
        }


def _norm(term: Tensor, features: Tensor) -> Tensor:
    if not term.requires_grad:
        return torch.zeros((), device=features.device)
    (gradient,) = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
    if gradient is None:
        return torch.zeros((), device=features.device)
    norm: Tensor = torch.linalg.vector_norm(gradient.float())
    return norm
