"""One of C classes per sample, as a diagnosis asks about it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.logistic import LogisticProbe
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.spec.measures import MetricName


class DiagnosedClassification(DiagnosedTask):
    """Rows of one class are alike."""

    words: ClassVar[TaskWords] = TaskWords(
        knows="knows the classes",
        knows_nothing="knows nothing about these classes",
        told="How well the classes can be told",
        shared="class",
        alike="rows of one class",
        contradicting="with another label",
        contradiction="one of the two is wrong",
        probe="multinomial logistic regression",
    )

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """The classes."""
        return self.labels(rows)

    def targets(self, rows: Rows) -> Matrix:
        """One-hot, of the classes that occur."""
        return one_hot(self.labels(rows))

    def probe(
        self, fitted_NP: Matrix, fitted: Rows, asked_MP: Matrix, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[np.float32]:
        """Log-probabilities [M, C]; classes weigh the same where macro-F1 judges."""
        probe = LogisticProbe(
            fitted_NP, self.labels(fitted), len(self.data.classes), rng, is_balanced=metric == "macro_f1"
        )
        return probe.scores(asked_MP).astype(np.float32)


def one_hot(labels_N: NDArray[np.int64]) -> Matrix:
    """Of the classes that occur, [N, C]."""
    found: Matrix = (labels_N[:, None] == np.unique(labels_N)).astype(np.float64)
    return found
