"""Whether two sets of scores put the classes in the same order."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.precision import full_precision
from fdkd_core.losses.shapes import check_same_shape


@full_precision
def kendall_tau(first_BC: Float[Tensor, "b c"], second_BC: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """Kendall's rank correlation (tau-b) of each sample's scores.

    Args:
        first_BC: Scores of C classes.
        second_BC: Other scores of the same.

    Returns:
        Shape [B], in -1..1, constant almost everywhere: a selection, not a loss. 0 where all scores of a side
        are equal, or where there is one class. The C (C - 1) / 2 pairs are taken C - d at a time, so that
        memory stays of the order of B C.

    Raises:
        ValueError: The shapes differ.

    References:
        Kendall, "The treatment of ties in ranking problems", Biometrika 1945.
    """
    check_same_shape(first_BC, second_BC, "scores")
    agreement_B, first_pairs_B, second_pairs_B = torch.zeros(3, len(first_BC), device=first_BC.device)
    for step in range(1, first_BC.shape[1]):
        first_order = torch.sign(first_BC[:, step:] - first_BC[:, :-step])
        second_order = torch.sign(second_BC[:, step:] - second_BC[:, :-step])
        agreement_B = agreement_B + (first_order * second_order).sum(dim=1)
        first_pairs_B = first_pairs_B + first_order.abs().sum(dim=1)
        second_pairs_B = second_pairs_B + second_order.abs().sum(dim=1)
    tau_B: Tensor = agreement_B / (first_pairs_B * second_pairs_B).sqrt().clamp_min(1.0)
    return tau_B
