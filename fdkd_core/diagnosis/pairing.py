"""Faults of the pairs: blanks, repeats, contradictions, and samples that stand in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.splits import SPLIT_PAIRS
from fdkd_core.data.table import SPLITS, ModalityData, PairedDataset, Split
from fdkd_core.diagnosis.products import Matrix, product
from fdkd_core.diagnosis.sample import Rows
from fdkd_core.diagnosis.views import input_matrix
from fdkd_core.spec.findings import LeakFindings, Part, RepeatFindings

NEAR = 0.02
"""Of a sample's distance from the mean, or of the median distance between two samples if that is less: closer
ones count as nearly identical, such as one recording stored twice with other rounding (noise 34 dB below)."""
NEAR_WIDTH = 256
"""Columns that distances are taken in."""
_MAX_NUMBERS = 500_000_000
"""Input numbers that are read for distances, per modality; more rows are thinned evenly."""
_MAX_ROWS = 10_000
"""Rows of one split in that comparison."""
_NUM_EXAMPLES = 3
_CHUNK = 500
Leaked = Literal["teacher", "student", "pair"]


@dataclass(frozen=True)
class Contents:
    """One modality by content."""

    group: NDArray[np.int64]
    """Shape [rows]: equal for rows whose decoded samples are equal; -1 for a row without a sample."""
    is_blank: NDArray[np.bool_]
    """Shape [rows]: the sample is one constant."""

    def has(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of some rows have a sample."""
        found: NDArray[np.bool_] = self.group[rows] >= 0
        return found


def read_contents(modality: ModalityData) -> Contents:
    """Groups equal samples: what is equal after decoding is equal to every network."""
    number: dict[bytes, int] = {}
    group = np.empty(len(modality.values), dtype=np.int64)
    is_blank = np.empty(len(modality.values), dtype=np.bool_)
    for position, value in enumerate(modality.values):
        digest = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16).digest()
        group[position] = number.setdefault(digest, len(number))
        is_blank[position] = value.size > 1 and bool((value == value.flat[0]).all())
    has = modality.index >= 0
    return Contents(np.where(has, group[modality.index], -1), has & is_blank[modality.index])


def contradictions(contents: Contents, rows: Rows, marks_NQ: NDArray[Any], tolerance: float = 0.0) -> int:
    """How many of the rows hold a sample that another of them holds with another label.

    Args:
        contents: Of the samples.
        rows: Row numbers; those without a sample contradict nobody, nor do blank ones: they are told apart.
        marks_NQ: Numbers that stand for the label of each of these rows.
        tolerance: By how much the marks of equal samples may differ.
    """
    has = contents.has(rows) & ~contents.is_blank[rows]
    rows, marks_NQ = rows[has], marks_NQ[has]
    groups, place_N, count_G = np.unique(contents.group[rows], return_inverse=True, return_counts=True)
    if len(groups) == 0:
        return 0
    ordered = marks_NQ[np.argsort(place_N, kind="stable")].astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(count_G)[:-1]])
    span_GQ = np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts)
    return int(count_G[(span_GQ > tolerance).any(axis=1)].sum())


def repeats(split: str, teacher: Contents, student: Contents, rows: Rows) -> RepeatFindings:
    """Samples of one split that are paired more than once; rows that lack one of the two are no pairs."""
    rows = rows[teacher.has(rows) & student.has(rows)]
    ours, theirs = teacher.group[rows], student.group[rows]
    teachers, students = _partners(ours, theirs), _partners(theirs, ours)
    several_students = {group for group, found in teachers.items() if len(found) > 1}
    several_teachers = {group for group, found in students.items() if len(found) > 1}
    return RepeatFindings(
        split=split,
        rows=len(rows),
        teacher_samples=len(several_students),
        teacher_rows=int(np.isin(ours, list(several_students)).sum()),
        most_students=max((len(found) for found in teachers.values()), default=0),
        student_samples=len(several_teachers),
        student_rows=int(np.isin(theirs, list(several_teachers)).sum()),
        most_teachers=max((len(found) for found in students.values()), default=0),
        repeated_pairs=len(rows) - len(set(zip(ours.tolist(), theirs.tolist(), strict=True))),
    )


def _partners(groups: NDArray[np.int64], others: NDArray[np.int64]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for group, other in zip(groups.tolist(), others.tolist(), strict=True):
        found[group].add(other)
    return found


def find_leaks(
    data: PairedDataset, modalities: dict[Part, str], contents: dict[Part, Contents]
) -> list[LeakFindings]:
    """Samples, and whole pairs, that stand in two splits: equal ones, and nearly identical ones.

    A student's sample leaks whether or not the row has a teacher: the student learns from it either way.

    Args:
        data: The dataset. Of the test split only inputs are read.
        modalities: Column of teacher and student.
        contents: Of the same columns.
    """
    width = max(int(np.prod(data.modalities[name].recipe["input_shape"])) for name in modalities.values())
    most = max(100, min(_MAX_ROWS, _MAX_NUMBERS // width // len(SPLITS)))
    rows = _compared(data, contents, most)
    distances: dict[Part, _Distances] = {
        part: _Distances(data.modalities[name], rows[part]) for part, name in modalities.items()
    }
    found = []
    for first, second in SPLIT_PAIRS:
        if first not in rows["student"]:
            continue
        for part in ("teacher", "student", "pair"):
            leak = _find_leak(data, contents, distances, rows, first, second, part)
            if leak.equal_rows or leak.near_rows:
                found.append(leak)
    return found


class _Distances:
    """Distances between rows of splits in units of the median distance of two training rows."""

    def __init__(self, modality: ModalityData, rows: dict[Split, Rows]) -> None:
        matrices = {split: input_matrix(modality, found, width=NEAR_WIDTH) for split, found in rows.items()}
        centre = matrices["train"].mean(axis=0)
        self._of = {split: matrix - centre for split, matrix in matrices.items()}
        train = self._of["train"]
        # Each with the row half the split further: far away in a file that is sorted.
        apart = np.linalg.norm(train - np.roll(train, len(train) // 2, axis=0), axis=1)
        self._unit = max(float(np.median(apart)), 1e-12)

    def are_near(self, first: Split, second: Split, chunk: slice) -> NDArray[np.bool_]:
        """[rows of the chunk of the second split, rows of the first]."""
        ours, theirs = self._of[second][chunk], self._of[first]
        squares: Matrix = (ours**2).sum(axis=1)[:, None] + (theirs**2).sum(axis=1)
        squares -= 2.0 * product(ours, theirs.T)
        # Two samples next to the mean, such as two moments of rest, are alike without being the same.
        own = np.minimum(np.linalg.norm(ours, axis=1), self._unit)
        found: NDArray[np.bool_] = squares < (NEAR * own[:, None]) ** 2
        return found


def _find_leak(
    data: PairedDataset,
    contents: dict[Part, Contents],
    distances: dict[Part, _Distances],
    rows: dict[Leaked, dict[Split, Rows]],
    first: Split,
    second: Split,
    part: Leaked,
) -> LeakFindings:
    parts: tuple[Part, ...] = ("teacher", "student") if part == "pair" else (part,)
    earlier, later = rows[part][first], rows[part][second]
    columns = {name: np.isin(rows[name][first], earlier) for name in parts}
    num_equal = num_near = 0
    examples: list[tuple[str, str]] = []
    for start in range(0, len(later), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        ours = later[chunk]
        equal = np.ones((len(ours), len(earlier)), dtype=np.bool_)
        near = equal.copy()
        for name in parts:
            same = np.equal.outer(contents[name].group[ours], contents[name].group[earlier])
            equal &= same
            near &= same | distances[name].are_near(first, second, chunk)[:, columns[name]]
        has_equal = np.asarray(equal.any(axis=1))
        has_near = np.asarray(near.any(axis=1))
        num_equal += int(has_equal.sum())
        num_near += int((has_near & ~has_equal).sum())
        for place in np.flatnonzero(has_near)[: _NUM_EXAMPLES - len(examples)]:
            other = equal[place].argmax() if has_equal[place] else near[place].argmax()
            examples.append((data.ids[earlier[other]], data.ids[ours[place]]))
    return LeakFindings(
        first_split=first,
        second_split=second,
        part=part,
        equal_rows=num_equal,
        near_rows=num_near,
        checked_rows=len(later),
        examples=examples,
    )


def _compared(
    data: PairedDataset, contents: dict[Part, Contents], most: int
) -> dict[Leaked, dict[Split, Rows]]:
    """At most so many rows of each split: pairs, and for each part with them those that have it alone.

    Validation and test rows lack no sample, so that of the later of two splits all parts are asked about the
    same rows.
    """
    found: dict[Leaked, dict[Split, Rows]] = {"teacher": {}, "student": {}, "pair": {}}
    for split, rows in data.splits.items():
        is_pair = np.logical_and.reduce([part.has(rows) for part in contents.values()])
        pairs = found["pair"][split] = _thinned(rows[is_pair], most)
        for part, own in contents.items():
            alone = _thinned(rows[own.has(rows) & ~is_pair], most - len(pairs))
            found[part][split] = np.sort(np.concatenate([pairs, alone]))
    return found


def _thinned(rows: Rows, most: int) -> Rows:
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
