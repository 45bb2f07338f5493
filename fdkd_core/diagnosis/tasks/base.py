"""What a diagnosis asks of a task: which rows are alike, what a label predicts, linear probes, chance, words.

Shape legend: N rows, M other rows, P predictors, Q numbers that stand for a label.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import Rows, stratified
from fdkd_core.spec.measures import MetricName, SelectBy
from fdkd_core.tasks import task_of


class TaskWords(NamedTuple):
    """How verdict, report and plots speak of a task."""

    knows: str
    """Of a teacher: `knows the classes`."""
    knows_nothing: str
    told: str
    """Heads the plot of figures: `How well the classes can be told`."""
    shared: str
    """What rows of one stratum have in common."""
    alike: str
    """Which rows are of one stratum, in a sentence of the report."""
    contradicting: str
    """How the labels of equal samples differ where they contradict each other."""
    contradiction: str
    """What that means."""
    probe: str
    """What linear probes are."""
    blank: str = ""
    """Which labels hold nothing to tell apart: `set is empty`; nothing where there are none such."""


class DiagnosedTask:
    """Base of what is asked of each task; rows are row numbers of the dataset.

    Args:
        data: Read for the task.
    """

    words: ClassVar[TaskWords]
    stratum: ClassVar[str] = "class"
    """What rows share that change places in the null `within`, as the head of a column."""
    tolerance: ClassVar[float] = 0.0
    """By how much the `marks` of equal samples may differ."""

    def __init__(self, data: PairedDataset) -> None:
        self.data = data
        self.task = task_of(data)

    def labels(self, rows: Rows) -> NDArray[Any]:
        """Of some rows, as the task reads them."""
        found: NDArray[Any] = self.data.labels[rows]
        return found

    def clusters(self, rows: Rows) -> NDArray[np.int64] | None:
        """Which of some rows are not independent: those of one group; None where all are."""
        return None if self.data.groups is None else self.data.groups[rows]

    def metric(self, select_by: SelectBy | None) -> MetricName:
        """The figure to compare by: what picks the weights in the job; the main one where that is a loss."""
        names = self.task.facts.metrics
        return next((name for name in names if name == select_by), names[0])

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """A number for each row, equal where labels are alike; a choice of rows keeps the shares of each."""
        raise NotImplementedError

    def within(self, rows: Rows) -> NDArray[np.int64] | None:
        """The strata within which a null shuffles rows; None where hardly two rows are of one."""
        return self.strata(rows)

    def choose(self, rows: Rows, most: int, rng: np.random.Generator) -> Rows:
        """At most `most` of some rows, each stratum by its share, ascending."""
        strata = np.zeros(len(self.data.labels), np.int64)
        strata[rows] = self.strata(rows)
        return stratified(rows, strata, most, rng)

    def targets(self, rows: Rows) -> Matrix:
        """Labels as numbers that a linear map may predict, [N, Q]."""
        raise NotImplementedError

    def marks(self, rows: Rows) -> NDArray[Any]:
        """[N, Q]: labels agree where no mark differs by more than `tolerance`."""
        return self.labels(rows).reshape(len(rows), -1)

    def blank_labels(self, rows: Rows) -> int | None:
        """How many labels hold nothing to tell apart; None of tasks whose labels cannot."""
        return None

    def probe(
        self, fitted_NP: Matrix, fitted: Rows, asked_MP: Matrix, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[np.float32]:
        """What a linear probe answers, as a network of the task would.

        Args:
            fitted_NP: What it learns from.
            fitted: Rows of it.
            asked_MP: What it is asked about.
            rng: Of its folds.
            metric: By which it will be judged.
        """
        raise NotImplementedError

    def chance(self, metric: MetricName, fitted: Rows, asked: Rows) -> float:
        """A figure of who looks at no sample, as the task says."""
        return self.task.chance(metric, self.labels(fitted), self.labels(asked)).value
