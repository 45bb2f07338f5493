"""One or several numbers per sample.

Within a job, labels and answers are on the scale of the training rows: mean 0, variance 1. Figures are in the
units of the data, and so are the answers of every network that leaves a job or comes to it.

Shape legend: B samples of a batch, N of a split, K numbers.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.table import TargetScale
from fdkd_core.losses.numbers import half_squared_error, mean_huber
from fdkd_core.models.base import Backbone
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.spec.figures import RegressionMetrics
from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.tasks import RegressionSpec, TaskKind
from fdkd_core.tasks.base import Task, refuse_not_finite
from fdkd_core.tasks.blind import Blind, best_of_constants


class Regression(Task):
    """Squared or Huber's error on standardised numbers.

    Args:
        spec: Which of them.
        scale: Of the training rows.
    """

    kind: ClassVar[TaskKind] = "regression"

    def __init__(self, spec: RegressionSpec, scale: TargetScale) -> None:
        self._spec = spec
        self._scale = scale

    def answered(self, outputs_BC: Float[Tensor, "b k"]) -> NDArray[np.float32]:
        """The outputs themselves, on the scale of the job's labels."""
        found: NDArray[np.float32] = outputs_BC.float().numpy()
        return found

    def loss(self, outputs_BC: Float[Tensor, "b k"], labels: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """Mean over the numbers, shape [B]."""
        if self._spec.loss == "huber":
            return mean_huber(outputs_BC, labels, delta=self._spec.huber_delta)
        return half_squared_error(outputs_BC, labels)

    def metrics(self, outputs_NC: NDArray[np.float32], labels: NDArray[np.float32]) -> RegressionMetrics:
        """MAE, RMSE and R2 in the units of the data, and the mean loss, of a split."""
        refuse_not_finite(outputs_NC)
        errors_NK, spread_NK = self._errors(outputs_NC, labels)
        squares_K, total_K = (errors_NK**2).mean(axis=0), (spread_NK**2).mean(axis=0)
        # Of a number that never changes nothing is left to explain.
        explained_K = np.where(total_K > 0.0, 1.0 - squares_K / np.where(total_K > 0.0, total_K, 1.0), 0.0)
        return RegressionMetrics(
            mae=float(np.abs(errors_NK).mean()),
            rmse=float(np.sqrt(squares_K).mean()),
            r2=float(explained_K.mean()),
            loss=float(self._losses(outputs_NC, labels).mean()),
            num_samples=len(labels),
        )

    def shares(
        self, metric: str, outputs_NC: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Absolute errors and losses, negative; influences on RMSE and R2 (the infinitesimal jackknife)."""
        errors_NK, spread_NK = self._errors(outputs_NC, labels)
        squares_NK = errors_NK**2
        found_N: NDArray[np.float64]
        if metric == "mae":
            found_N = -np.abs(errors_NK).mean(axis=1)
        elif metric == "rmse":
            root_K = np.sqrt(squares_NK.mean(axis=0))
            # d sqrt(m) = dm / (2 sqrt(m)); of a perfect answer no sample moves it.
            found_N = -((squares_NK - root_K**2) / (2.0 * np.where(root_K > 0.0, root_K, 1.0))).mean(axis=1)
        elif metric == "r2":
            total_K = (spread_NK**2).mean(axis=0)
            safe_K = np.where(total_K > 0.0, total_K, 1.0)
            unexplained_K = squares_NK.mean(axis=0) / safe_K
            moved_NK = (unexplained_K * spread_NK**2 - squares_NK) / safe_K * (total_K > 0.0)
            found_N = moved_NK.mean(axis=1)
        else:
            found_N = -self._losses(outputs_NC, labels)
        return found_N

    def chance(self, metric: MetricName, fitted: NDArray[np.float32], labels: NDArray[np.float32]) -> Blind:
        """Mean and median of each number: the one is best for squares, the other for absolute errors."""
        answers = (fitted.mean(axis=0), np.median(fitted, axis=0))
        tiled = [np.tile(answer.astype(np.float32), (len(labels), 1)) for answer in answers]
        return best_of_constants(self, metric, tiled, labels)

    def in_own_units(self, model: Backbone) -> Backbone:
        """A copy of the network whose answers are in the units of the data: what leaves a job."""
        if isinstance(model, OnnxTeacher | RecordedTeacher):
            return model  # was given, and is reported as it is
        scaled = copy.deepcopy(model)
        scale, shift = self._tensors(scaled)
        with torch.no_grad():
            scaled.classifier.weight.mul_(scale[:, None])
            scaled.classifier.bias.mul_(scale).add_(shift)
        return scaled

    def on_own_scale(self, outputs_NC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean off and divided by the deviation."""
        found_NK: NDArray[np.float32] = ((outputs_NC - self._scale.mean) / self._scale.std).astype(np.float32)
        return found_NK

    def standardised(self, model: Backbone) -> Backbone:
        """A given network that answers in the units of the data, brought to the scale of this job."""
        if isinstance(model, OnnxTeacher | RecordedTeacher):
            model.set_scale(self._scale.mean, self._scale.std)
            return model
        scaled = copy.deepcopy(model)
        scale, shift = self._tensors(scaled)
        with torch.no_grad():
            scaled.classifier.weight.div_(scale[:, None])
            scaled.classifier.bias.sub_(shift).div_(scale)
        return scaled

    def _tensors(self, model: Backbone) -> tuple[Tensor, Tensor]:
        weight = model.classifier.weight
        scale, shift = (torch.from_numpy(part).to(weight) for part in (self._scale.std, self._scale.mean))
        return scale, shift

    def _errors(
        self, outputs_NK: NDArray[np.float32], labels_NK: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Answer minus label, and label minus the split's mean, in the units of the data."""
        errors_NK = (outputs_NK.astype(np.float64) - labels_NK) * self._scale.std
        exact_NK = labels_NK.astype(np.float64) * self._scale.std
        spread_NK = exact_NK - exact_NK.mean(axis=0)
        # The mean of equal numbers is off by rounding, and R2 would be a division by that.
        is_constant_K = (labels_NK == labels_NK[0]).all(axis=0)
        return errors_NK, np.where(is_constant_K, 0.0, spread_NK)

    def _losses(self, outputs_NK: NDArray[np.float32], labels_NK: NDArray[np.float32]) -> NDArray[np.float64]:
        """The loss of each sample, in float64."""
        exact = (torch.from_numpy(part.astype(np.float64)) for part in (outputs_NK, labels_NK))
        found_N: NDArray[np.float64] = self.loss(*exact).numpy()
        return found_N
