"""The rows of the paper's ablation: which fields each has, and what each makes of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from method_steps import build, in_float64, views
from torch import Tensor
from torch.nn import functional

from fdkd_core.methods.base import StepViews
from fdkd_core.spec import PAPER_ABLATION

SAME_IN_ALL = {
    "name": "fd_cmkd", "cutoff": 0.5, "basis": "fft", "low_weight": 1.0, "high_weight": 1.0,
    "log_scale": 1.0, "reduction": "sum", "align_weight": 1.0, "band_heads": False, "band_head_weight": 1.0,
    "projector": "auto", "balance": "none",
    "weight_schedule": {"warmup_frac": 0.0, "decay": "none", "end_factor": 0.0},
}  # fmt: skip
NO_DISTANCE = {"low_weight": 0.0, "high_weight": 0.0}
TABLE: dict[str, tuple[bool, bool, bool, str, dict[str, float]]] = {
    # split, scale, shared classifier, distance of the high band, weights that are not 1
    "feature MSE": (False, False, False, "mse", {}),
    "+ frequency": (True, False, False, "mse", {}),
    "align only": (False, False, True, "mse", NO_DISTANCE),
    "frequency + align": (True, False, True, "mse", {}),
    "frequency + scale": (True, True, False, "mse", {}),
    "all, MSE": (True, True, True, "mse", {}),
    "all, logMSE": (True, True, True, "log_mse", {}),
}


def test_every_row_has_the_fields_of_the_table() -> None:
    assert list(PAPER_ABLATION) == list(TABLE)
    for name, (split, scale, shared, high, weights) in TABLE.items():
        expected = {
            **SAME_IN_ALL, "split": split, "scale": scale, "shared_classifier": shared, "high_distance": high,
            **weights,
        }  # fmt: skip
        assert PAPER_ABLATION[name].model_dump() == expected, name


def bands(features: Tensor) -> tuple[Tensor, Tensor]:
    """D = 16: bins 1 to 4 of 0 to 8, and 5 to 8, each by an FFT of its own."""
    found = []
    for first, last in ((1, 4), (5, 8)):
        spectrum = torch.fft.rfft(features)
        spectrum[:, :first] = 0
        spectrum[:, last + 1 :] = 0
        found.append(torch.fft.irfft(spectrum, n=16))
    return found[0], found[1]


def unit(features: Tensor) -> Tensor:
    norms: Tensor = features.norm(dim=1, keepdim=True)
    return features / norms


def squared(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().sum(dim=1)


def log1p(features: Tensor) -> Tensor:
    return features.sign() * (1 + features.abs()).log()


Views = tuple[Tensor, Tensor]
"""Of the student and of the teacher."""


def aligned(method: Any, step: StepViews, **parts: Views) -> Tensor:
    """Cross-entropies of both sides by the shared classifier of each part."""
    return torch.stack(
        [
            functional.cross_entropy(method.shared[name].linear(part.relu()), step.labels, reduction="none")
            for name, both in parts.items()
            for part in both
        ]
    ).sum(dim=0)


def feature_mse(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    return squared(*whole)


def frequency(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    """The bands are orthogonal, and all of the feature but its mean."""
    return squared(*(part - part.mean(dim=1, keepdim=True) for part in whole))


def align_only(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    return aligned(method, step, whole=whole)


def frequency_align(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    return squared(*low) + squared(*high) + aligned(method, step, low=low, high=high)


def frequency_scale(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    return sum((2 - 2 * functional.cosine_similarity(*both) for both in (low, high)), torch.zeros(()))


def all_mse(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    low, high = (unit(low[0]), unit(low[1])), (unit(high[0]), unit(high[1]))
    return squared(*low) + squared(*high) + aligned(method, step, low=low, high=high)


def all_log_mse(method: Any, step: StepViews, whole: Views, low: Views, high: Views) -> Tensor:
    low, high = (unit(low[0]), unit(low[1])), (unit(high[0]), unit(high[1]))
    return squared(*low) + squared(*map(log1p, high)) + aligned(method, step, low=low, high=high)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "feature MSE": feature_mse,
    "+ frequency": frequency,
    "align only": align_only,
    "frequency + align": frequency_align,
    "frequency + scale": frequency_scale,
    "all, MSE": all_mse,
    "all, logMSE": all_log_mse,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_what_the_name_says(name: str) -> None:
    step, method = in_float64(views(6)), build(PAPER_ABLATION[name]).double()
    assert step.teacher is not None
    student, teacher = step.student.features, step.teacher.features
    (s_low, s_high), (t_low, t_high) = bands(student), bands(teacher)
    terms = method.terms(step)
    found = torch.stack([method.weights[term] * value for term, value in terms.items()]).sum(dim=0)
    expected = LOSSES[name](method, step, (student, teacher), (s_low, t_low), (s_high, t_high))
    torch.testing.assert_close(found, expected)
