"""Sets of C classes per sample, as a diagnosis asks about them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.one_vs_rest import OneVsRestProbe
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.spec.measures import MetricName

LEAST_OF_A_SET = 5
"""Rows: fewer of one set are hardly moved by a shuffle among themselves."""


class DiagnosedMultilabel(DiagnosedTask):
    """Rows with the same set of classes are alike; those of rare sets by the commonest class they have."""

    words: ClassVar[TaskWords] = TaskWords(
        knows="knows the classes",
        knows_nothing="knows nothing about these classes",
        told="How well the classes can be told",
        shared="set of classes",
        alike=f"rows with the same set of classes, and where a set has fewer than {LEAST_OF_A_SET} rows, "
        "those of rare sets that have the same commonest class",
        contradicting="with another set of classes",
        contradiction="one of the two is wrong",
        probe="logistic regression of each class against the rest",
        blank="set of classes is empty",
    )
    stratum: ClassVar[str] = "class set"

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """The sets, and for rare ones their commonest class."""
        is_of_NC = self.labels(rows) > 0.5
        sets_SC, set_N, count_S = np.unique(is_of_NC, axis=0, return_inverse=True, return_counts=True)
        # Of an empty set all products are 0, so that it goes with no class at all.
        commonness_SC = sets_SC * (1 + is_of_NC.sum(axis=0))
        commonest_S = np.where(sets_SC.any(axis=1), commonness_SC.argmax(axis=1), sets_SC.shape[1])
        stratum_S = np.where(count_S < LEAST_OF_A_SET, len(sets_SC) + commonest_S, np.arange(len(sets_SC)))
        found: NDArray[np.int64] = stratum_S[set_N.reshape(-1)]
        return found

    def targets(self, rows: Rows) -> Matrix:
        """Zeros and ones, [N, C]."""
        return self.labels(rows).astype(np.float64)

    def blank_labels(self, rows: Rows) -> int:
        """Rows without any class."""
        return int((~(self.labels(rows) > 0.5).any(axis=1)).sum())

    def probe(
        self, fitted_NP: Matrix, fitted: Rows, asked_MP: Matrix, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[np.float32]:
        """Scores before the sigmoid, [M, C]."""
        probe = OneVsRestProbe(fitted_NP, self.targets(fitted), rng)
        return probe.scores(asked_MP).astype(np.float32)
