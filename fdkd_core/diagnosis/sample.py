"""Which rows a diagnosis looks at: some to learn from, some to measure on, none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError
from fdkd_core.spec.diagnosis_fit import pair_problems
from fdkd_core.spec.findings import SampleFindings

Rows = NDArray[np.int64]
Choose = Callable[[Rows, int, np.random.Generator], Rows]
"""At most so many of some rows, ascending."""

BLOCK_ROWS = 25
"""Neighbouring rows are held out together, so that pairs can be compared with those a few rows further."""
MIN_BLOCKS = 4
MAX_MEASURED = 1000
"""More rows narrow the nulls no further than anyone looks, and cost time."""
MAX_PROBED = 2000
"""Rows that linear probes learn from: a linear classifier of 64 numbers gains little from more."""
MAX_VALIDATED = 2000
"""Validation rows: a standard error of one point."""


@dataclass(frozen=True)
class Sample:
    """Row numbers, ascending: the order of the file. Each row has both modalities."""

    fit: Rows
    """Training rows that networks and probes learn from; as many of each stratum as its share."""
    held_out: Rows
    """Training rows kept from them, in blocks spread over the file."""
    measured: Rows
    """Those held out, filled up with validation rows: similarity is measured over rows nobody has learned,
    since features of rows that were learned by heart agree whatever they show."""
    validated: Rows
    """Validation rows: figures are measured over what the job would select by."""


def draw_sample(
    data: PairedDataset, modalities: Iterable[str], choose: Choose, max_samples: int, seed: int
) -> Sample:
    """Chooses rows; a function of the data's order, its labels, and the seed.

    Args:
        data: The dataset; the test split is not touched.
        modalities: That a row must have to be looked at: the teacher's, and the student's.
        choose: How the task leaves out rows where there are too many (`DiagnosedTask.choose`).
        max_samples: Most rows to learn from, and most to measure over.
        seed: Of the choice.

    Raises:
        IncompatibleError: Too few training rows are pairs.
    """
    rng = np.random.default_rng((seed, *b"sample"))
    pairs, val = data.training_rows(*modalities), data.splits["val"]
    too_few = pair_problems(len(pairs))
    if too_few:
        raise IncompatibleError(too_few)
    most = min(max_samples, MAX_MEASURED)
    held_out = _blocks(pairs, min(most, len(pairs) // 3))
    fit = choose(np.setdiff1d(pairs, held_out), max_samples, rng)
    filled = choose(val, max(0, most - len(held_out)), rng)
    return Sample(
        fit=fit,
        held_out=held_out,
        measured=np.sort(np.concatenate([held_out, filled])),
        validated=choose(val, MAX_VALIDATED, rng),
    )


def describe(sample: Sample, data: PairedDataset, modalities: Iterable[str]) -> SampleFindings:
    """The sample in numbers. Args: as above."""
    train_rows = len(data.splits["train"])
    return SampleFindings(
        fit_rows=len(sample.fit),
        held_out_rows=len(sample.held_out),
        measured_rows=len(sample.measured),
        val_rows=len(sample.validated),
        test_rows=len(data.splits["test"]),
        train_rows=train_rows,
        unpaired_rows=train_rows - len(data.training_rows(*modalities)),
    )


def stratified(rows: Rows, strata: NDArray[np.int64], most: int, rng: np.random.Generator) -> Rows:
    """At most `most` of the rows, each stratum by its share, ascending.

    Args:
        rows: Row numbers to choose from.
        strata: Class of every row of the data, or what else its share is kept of.
        most: How many.
        rng: Of the choice.
    """
    if len(rows) <= most:
        return np.sort(rows)
    shuffled = rng.permutation(rows)
    of_rows = strata[shuffled]
    # The place of a row within its stratum, 0..1: the smallest ones hold every stratum by its share.
    place = np.empty(len(shuffled))
    for stratum in np.unique(of_rows):
        members = np.flatnonzero(of_rows == stratum)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(shuffled[np.argsort(place, kind="stable")[:most]])


def _blocks(rows: Rows, most: int) -> Rows:
    """About `most` of the rows, in evenly spread blocks of neighbours."""
    length = max(1, min(BLOCK_ROWS, most // MIN_BLOCKS))
    starts = np.linspace(0, len(rows) - length, max(1, most // length)).astype(np.int64)
    places = np.unique((starts[:, None] + np.arange(length)).ravel())
    return rows[places]
