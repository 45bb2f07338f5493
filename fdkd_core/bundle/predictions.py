"""From what a network answers to what people ask for, by task. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.spec.tasks import (
    ClassificationSpec,
    MultilabelSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
    TaskSpec,
)

_ROUNDING = 1e-4
"""Of the largest answer; float32 in another order of operations stays a hundred times below."""
_EQUAL_PIXELS = 0.999
"""Of a mask, for two to be the same: where two classes meet, rounding may decide."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one input, of a model that knows one class a sample."""

    label: str
    index: int
    """Of the label among the bundle's classes."""
    probabilities: dict[str, float]
    """By label, in the order of the classes; they sum to 1. Softmax of the logits, not calibrated."""


@dataclass(frozen=True)
class MultilabelPrediction:
    """The answer of a model that knows sets of classes."""

    labels: list[str]
    """Those that apply, in the order of the classes: of a probability at or above the bundle's threshold."""
    probabilities: dict[str, float]
    """By class, each for itself. Sigmoid of the logits, not calibrated."""


@dataclass(frozen=True)
class RegressionPrediction:
    """The answer of a model of numbers."""

    values: dict[str, float]
    """By the name of the number, in the unit of the training data."""

    @property
    def value(self) -> float:
        """The first of them: the only one, where there is one."""
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class RetrievalPrediction:
    """The answer of a model of embeddings."""

    embedding: list[float]
    """Of norm 1, so that the scalar product of two is their cosine: the larger, the more alike."""


@dataclass(frozen=True)
class SegmentationPrediction:
    """The answer of a model of masks."""

    mask: NDArray[np.uint8]
    """Class index of each pixel, [H, W] of the network's input: the picture as a whole, scaled to that."""
    shares: dict[str, float]
    """By class, the share of pixels that have it; they sum to 1."""


AnyPrediction = (
    Prediction | MultilabelPrediction | RegressionPrediction | RetrievalPrediction | SegmentationPrediction
)


def predictions(task: TaskSpec, names: Sequence[str], outputs_BC: NDArray[np.float32]) -> list[Any]:
    """What a batch of answers means; see `AnyPrediction`.

    Args:
        task: What the network was trained for.
        names: Of its classes, or numbers.
        outputs_BC: Its answers.
    """
    return _READINGS[type(task)](task, names, outputs_BC)


def same_answers(
    task: TaskSpec, first_BC: NDArray[np.float32], second_BC: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """For which samples of a batch two networks say the same: numbers and embeddings, but for rounding."""
    found_B: NDArray[np.bool_]
    if isinstance(task, MultilabelSpec):
        found_B = ((first_BC >= task.least_logit) == (second_BC >= task.least_logit)).all(axis=1)
    elif isinstance(task, RegressionSpec):
        found_B = np.abs(second_BC - first_BC).max(axis=1) <= _ROUNDING * np.abs(first_BC).max()
    elif isinstance(task, RetrievalSpec):
        found_B = np.abs(_of_norm_1(second_BC) - _of_norm_1(first_BC)).max(axis=1) <= _ROUNDING
    elif isinstance(task, SegmentationSpec):
        equal = first_BC.argmax(axis=1) == second_BC.argmax(axis=1)
        found_B = equal.mean(axis=(1, 2)) >= _EQUAL_PIXELS
    else:
        found_B = first_BC.argmax(axis=1) == second_BC.argmax(axis=1)
    return found_B


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities per row, in float64 so that they sum to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _one_class(
    task: ClassificationSpec, names: Sequence[str], outputs_BC: NDArray[np.float32]
) -> list[Prediction]:
    found = []
    for row in softmax(outputs_BC):
        index = int(row.argmax())
        found.append(Prediction(names[index], index, dict(zip(names, row.tolist(), strict=True))))
    return found


def _sets(
    task: MultilabelSpec, names: Sequence[str], outputs_BC: NDArray[np.float32]
) -> list[MultilabelPrediction]:
    # Of large negative logits the exponential would overflow; of their logarithm it does not.
    probabilities_BC = np.exp(-np.logaddexp(0.0, -outputs_BC.astype(np.float64)))
    applies_BC = outputs_BC >= task.least_logit
    return [
        MultilabelPrediction(
            [name for name, is_there in zip(names, applies, strict=True) if is_there],
            dict(zip(names, row.tolist(), strict=True)),
        )
        for applies, row in zip(applies_BC, probabilities_BC, strict=True)
    ]


def _numbers(
    task: RegressionSpec, names: Sequence[str], outputs_BC: NDArray[np.float32]
) -> list[RegressionPrediction]:
    return [RegressionPrediction(dict(zip(names, row.tolist(), strict=True))) for row in outputs_BC]


def _embeddings(
    task: RetrievalSpec, names: Sequence[str], outputs_BC: NDArray[np.float32]
) -> list[RetrievalPrediction]:
    return [RetrievalPrediction(row.tolist()) for row in _of_norm_1(outputs_BC)]


def _of_norm_1(outputs_BC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Zero rows stay zero."""
    exact_BC = outputs_BC.astype(np.float64)
    norm_B1 = np.linalg.norm(exact_BC, axis=1, keepdims=True)
    found_BC: NDArray[np.float64] = exact_BC / np.where(norm_B1 > 0.0, norm_B1, 1.0)
    return found_BC


def _masks(
    task: SegmentationSpec, names: Sequence[str], outputs_BCHW: NDArray[np.float32]
) -> list[SegmentationPrediction]:
    found = []
    for mask in outputs_BCHW.argmax(axis=1).astype(np.uint8):
        shares = np.bincount(mask.reshape(-1), minlength=len(names)) / mask.size
        found.append(SegmentationPrediction(mask, dict(zip(names, shares.tolist(), strict=True))))
    return found


_READINGS: dict[type, Callable[[Any, Sequence[str], NDArray[np.float32]], list[Any]]] = {
    ClassificationSpec: _one_class,
    MultilabelSpec: _sets,
    RegressionSpec: _numbers,
    RetrievalSpec: _embeddings,
    SegmentationSpec: _masks,
}
