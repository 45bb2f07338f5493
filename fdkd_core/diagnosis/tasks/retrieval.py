"""Rows that are to find each other, or a vector of their own, as a diagnosis asks about them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.discriminants import Discriminants
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.ridge import Ridge
from fdkd_core.diagnosis.sample import Rows, stratified
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MetricName

MOST_OF_A_LABEL = 16
"""Rows, where there are more labels than room: a row finds others of its label if there are some, and the
more labels, the more like the job is what is asked."""


class DiagnosedRetrieval(DiagnosedTask):
    """Rows of one label are alike, or of one vector, if there are such rows."""

    words: ClassVar[TaskWords] = TaskWords(
        knows="finds what is right to find",
        knows_nothing="finds no more than chance does",
        told="How well what is right is found",
        shared="label",
        alike="rows of one label",
        contradicting="with another label",
        contradiction="of the two labels one at most can be found first",
        probe="linear maps whose answers are compared by their cosine: discriminants of the labels, or ridge "
        "regression to the vectors",
    )
    stratum: ClassVar[str] = "label"

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """The labels; of vectors, which are equal."""
        if self.data.targets is None:
            return self.labels(rows)
        number_N: NDArray[np.int64] = np.unique(self.labels(rows), axis=0, return_inverse=True)[1]
        return number_N.reshape(-1)

    def within(self, rows: Rows) -> NDArray[np.int64] | None:
        """The same, unless most rows are alone with theirs: a shuffle would leave them where they are."""
        strata = self.strata(rows)
        _, place_N, count_S = np.unique(strata, return_inverse=True, return_counts=True)
        return strata if (count_S[place_N] > 1).mean() >= 0.5 else None

    def clusters(self, rows: Rows) -> NDArray[np.int64] | None:
        """Those of one label too: what one of them finds, the others mostly find."""
        groups = super().clusters(rows)
        return self.strata(rows) if groups is None else groups

    def choose(self, rows: Rows, most: int, rng: np.random.Generator) -> Rows:
        """At most `most` of some rows, ascending: of each label its share, or of some labels all rows.

        Of a hundredth of each label's rows hardly two would be left to find each other.
        """
        if len(rows) <= most or self.data.targets is not None:
            return stratified(rows, np.zeros(len(self.data.labels), np.int64), most, rng)
        shuffled = rng.permutation(rows)
        labels = rng.permutation(np.unique(self.labels(rows)))
        if len(labels) * MOST_OF_A_LABEL <= most:
            return super().choose(rows, most, rng)
        of_rows = self.labels(shuffled)
        kept: list[Rows] = []
        for label in labels:
            kept.append(shuffled[of_rows == label][:MOST_OF_A_LABEL])
            if sum(map(len, kept)) >= most:
                break
        return np.sort(np.concatenate(kept)[:most])

    def targets(self, rows: Rows) -> Matrix:
        """The vectors, standardised; or a column for each label that two rows have."""
        if self.data.targets is not None:
            return self.labels(rows).astype(np.float64)
        found, count = np.unique(self.labels(rows), return_counts=True)
        hot: Matrix = (self.labels(rows)[:, None] == found[count > 1]).astype(np.float64)
        return hot if hot.shape[1] else np.zeros((len(rows), 1))

    def probe(
        self, fitted_NP: Matrix, fitted: Rows, asked_MP: Matrix, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[np.float32]:
        """Embeddings [M, E]: predicted vectors, in their own unit; or linear discriminants of the labels."""
        if self.data.targets is not None:
            found_ME = Ridge(fitted_NP, asked_MP).predict(self.targets(fitted))
            return self.data.targets.in_own_units(found_ME).astype(np.float32)
        probe = Discriminants(fitted_NP, self.labels(fitted), rng, self._score)
        return probe.embed(asked_MP).astype(np.float32)

    def _score(self, embeddings_ME: Matrix, labels_M: NDArray[np.int64]) -> float:
        """By reciprocal ranks, which differ where recall does not yet."""
        return figure(self.task.metrics(embeddings_ME.astype(np.float32), labels_M), "mean_reciprocal_rank")
