"""How finalists of a search do in cross-validation: on people, places or rows that training has not seen.

A validation split of one or two groups says how a method suits those, not how it will suit the next ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.folds import MIN_FOLDS, fold_groups, folds_asked, held_out_rows, without
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.fold_fit import empty_folds, one_group, too_few_rows
from fdkd_core.spec.result import FinalRun
from fdkd_core.studies.search import Candidate
from fdkd_core.studies.study import phase_steps
from fdkd_core.studies.trainings import Lesson, run_final
from fdkd_core.teacher_views import TeacherRows


class Folds:
    """The folds of one search.

    Args:
        data: Of the job.
        asked: Of the method: how many; None for none; `auto` where validation has few groups.
        training: Of the job.
    """

    def __init__(
        self, data: PairedDataset, asked: int | Literal["auto"] | None, training: TrainingSpec
    ) -> None:
        self._data, self._training = data, training
        self._seed, self._batch_size = training.seed, training.batch_size
        self._count = folds_asked(data, asked, training.seed, training.batch_size)

    @cached_property
    def parts(self) -> list[NDArray[np.bool_]]:
        """Which taught rows each holds out; empty where none were asked for."""
        return held_out_rows(self._data, self._count, self._seed) if self._count else []

    def check(self) -> None:
        """Before anything is trained: what the report on the data could not tell when the job was posted.

        Raises:
            IncompatibleError: There is a single group, a fold holds out nothing, or leaves fewer rows than a
                batch.
        """
        if len(self.parts) == 1:
            raise IncompatibleError(one_group())
        held_out = [int(is_out.sum()) for is_out in self.parts]
        if 0 in held_out:
            raise IncompatibleError(empty_folds(sum(held_out), len(held_out)))
        fewest = min((int((~is_out).sum()) for is_out in self.parts), default=self._batch_size)
        if fewest < self._batch_size:
            raise IncompatibleError(too_few_rows(fewest, self._batch_size))

    def cut_to(self, count: int) -> Folds:
        """As many folds of the same data, for which there is more time."""
        return Folds(self._data, count, self._training)

    def fewer(self) -> list[int]:
        """Smaller numbers of folds that the data can be cut into too, falling, down to `MIN_FOLDS`."""
        return [count for count in range(len(self.parts) - 1, MIN_FOLDS - 1, -1) if self._can_be(count)]

    def _can_be(self, count: int) -> bool:
        try:
            self.cut_to(count).check()
        except IncompatibleError:
            return False
        return True

    @property
    def words(self) -> str:
        """What they are, for people."""
        groups = fold_groups(self._data)
        if groups is None:
            return f"{len(self.parts)} folds of the training rows"
        number = len(np.unique(groups[self._data.splits["train"]]))
        what = "labels" if self._data.groups is None else "groups"
        return f"{len(self.parts)} folds of {number} {what} of training"

    def plan(self, place: int, training: TrainingSpec) -> list[dict[str, Any]]:
        """Name and number of steps of a finalist's trainings."""
        return [
            {"name": fold_name(place, number), "total_steps": phase_steps(training, int((~is_out).sum()))}
            for number, is_out in enumerate(self.parts, start=1)
        ]

    def train(
        self, lesson: Lesson, place: int, candidate: Candidate, steps_before: Sequence[int]
    ) -> list[FinalRun]:
        """A training without each fold, whose `test` is of the fold's rows.

        Raises:
            TrainingDivergedError: In one of them.
        """
        runs = []
        for number, is_out in enumerate(self.parts, start=1):
            name, seed = fold_name(place, number), self._seed + number
            lesson_of_fold = _without(lesson, is_out)
            runs.append(run_final(lesson_of_fold, name, candidate, seed, steps_before[number - 1]))
            lesson.outcomes.drop_weights(name)
        return runs


def fold_name(place: int, number: int) -> str:
    """Phase of a finalist's training without a fold."""
    return f"fold{place}-{number}"


def _without(lesson: Lesson, is_out: NDArray[np.bool_]) -> Lesson:
    """What trainings without a fold see."""
    job = replace(lesson.job, data=without(lesson.job.data, is_out))
    rows, kept = lesson.rows, torch.from_numpy(~is_out)
    if rows is not None:
        rows = TeacherRows(
            ModelOutput(*(part[kept] for part in rows.outputs)),
            None if rows.paired is None else rows.paired[kept],
            rows.num_pairs,
            None if rows.answers is None else rows.answers[~is_out],
        )
    return Lesson(job, lesson.teacher, rows)
