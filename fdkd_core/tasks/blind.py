"""The figure of who looks at no sample: what is called chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdkd_core.spec.figures import figure
from fdkd_core.spec.measures import MEASURES, MetricName

if TYPE_CHECKING:
    from fdkd_core.tasks.base import Task


class Blind(NamedTuple):
    """One figure of answers that were given without a look."""

    value: float
    """The figure itself."""
    shares: NDArray[np.float64]
    """What each row adds to it, as `Task.shares` says, shape [N]; zeros where answers are random, of which
    only the mean is known."""


def best_of_constants(
    task: Task, metric: MetricName, answers: Sequence[NDArray[Any]], labels: NDArray[Any]
) -> Blind:
    """The best of answers that are the same for all rows.

    Args:
        task: What is answered.
        metric: By which they are compared.
        answers: Each of all rows, as `Task.answers` gives them.
        labels: Of the rows.
    """
    found = [figure(task.metrics(each, labels), metric) for each in answers]
    best = int(np.argmax([MEASURES[metric].signed(value) for value in found]))
    return Blind(found[best], task.shares(metric, answers[best], labels))
