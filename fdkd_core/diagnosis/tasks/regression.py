"""Numbers per sample, as a diagnosis asks about them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.ridge import Ridge
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.diagnosis.tasks.ranges import LEAST_ROWS, ranges
from fdkd_core.spec.measures import MetricName


class DiagnosedRegression(DiagnosedTask):
    """Rows whose numbers lie in one range are alike."""

    words: ClassVar[TaskWords] = TaskWords(
        knows="knows the numbers",
        knows_nothing="knows nothing about these numbers",
        told="How well the numbers can be told",
        shared="label",
        alike="rows whose labels lie in one range (quantiles of one number, boxes of several, of "
        f"{LEAST_ROWS} rows or more); within it labels still differ a little",
        contradicting="with a number that differs by more than a tenth of its deviation",
        contradiction="the sample does not tell what the label says, or one of the labels is wrong",
        probe="ridge regression",
    )
    stratum: ClassVar[str] = "label range"
    tolerance: ClassVar[float] = 0.1
    """Standard deviations of the training labels: a difference that limits R² to .99."""

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """Ranges of the standardised numbers."""
        return ranges(self.targets(rows))

    def targets(self, rows: Rows) -> Matrix:
        """The numbers, standardised, [N, targets]."""
        return self.labels(rows).astype(np.float64)

    def probe(
        self, fitted_NP: Matrix, fitted: Rows, asked_MP: Matrix, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[np.float32]:
        """Standardised numbers, [M, targets]."""
        return Ridge(fitted_NP, asked_MP).predict(self.targets(fitted)).astype(np.float32)
