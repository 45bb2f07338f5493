"""A class of each pixel, as a diagnosis asks about it."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.logistic import LogisticProbe
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.tasks.base import DiagnosedTask, TaskWords
from fdkd_core.diagnosis.tasks.ranges import ranges
from fdkd_core.spec.measures import MetricName
from fdkd_core.tasks.segmentation import pixel_counts


class DiagnosedSegmentation(DiagnosedTask):
    """Pictures are alike that show the classes in like shares; places, of which probes ask, of one class."""

    words: ClassVar[TaskWords] = TaskWords(
        knows="knows the classes of the pixels",
        knows_nothing="knows nothing about the classes of these pixels",
        told="How well the classes of pixels can be told",
        shared="pixel classes",
        alike="places whose pixels have one class",
        contradicting="with another mask",
        contradiction="one of the two is wrong",
        probe="multinomial logistic regression at single places: from the features there, or from the 5 x 5 "
        "places around in the picture that was averaged to the size of the network's map",
        blank="mask holds one value alone",
    )
    stratum: ClassVar[str] = "pixel class"

    def strata(self, rows: Rows) -> NDArray[np.int64]:
        """Ranges of the shares that the classes have in each picture."""
        return ranges(self.targets(rows))

    def within(self, rows: Rows) -> None:
        """A picture as a whole is of no class: there is no null within; of places there is one."""

    def targets(self, rows: Rows) -> Matrix:
        """Share of each class in the pixels of each picture that have a label, [N, C]."""
        count_NC = pixel_counts(self.labels(rows), len(self.data.classes))
        shares: Matrix = count_NC / np.maximum(count_NC.sum(axis=1, keepdims=True), 1.0)
        return shares

    def marks(self, rows: Rows) -> NDArray[Any]:
        """A number for each row, equal for equal masks, [N, 1]."""
        numbers: dict[bytes, int] = {}
        digests = (hashlib.blake2b(np.ascontiguousarray(mask).data).digest() for mask in self.labels(rows))
        return np.array([[numbers.setdefault(digest, len(numbers))] for digest in digests])

    def blank_labels(self, rows: Rows) -> int:
        """Masks of one value: one class, or no label anywhere."""
        flat = self.labels(rows).reshape(len(rows), -1)
        return int((flat.min(axis=1) == flat.max(axis=1)).sum())

    def place_probe(
        self,
        fitted_NP: Matrix,
        labels_N: NDArray[np.int64],
        rng: np.random.Generator,
        metric: MetricName,
    ) -> LogisticProbe:
        """A probe of single places; classes weigh the same where mean pixel accuracy judges.

        Args:
            fitted_NP: Places to learn from.
            labels_N: Their classes.
            rng: Of its folds.
            metric: By which it will be judged.
        """
        is_balanced = metric == "mean_pixel_accuracy"
        return LogisticProbe(fitted_NP, labels_N, len(self.data.classes), rng, is_balanced=is_balanced)
