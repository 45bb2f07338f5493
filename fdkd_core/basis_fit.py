"""Whether enough training rows have a view of a teacher for FD-CMKD to make a basis from its features."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fdkd_core.bands import MIN_ROWS
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import Problem
from fdkd_core.models.base import Backbone
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.spec import AnyJobSpec, CombineSpec, FDCMKDSpec, MethodJobSpec, MethodSpec
from fdkd_core.spec.frozen_teachers import method_pointers
from fdkd_core.teacher_views import rows_with_teacher


def basis_problems(
    spec: AnyJobSpec, data: PairedDataset, teachers: Sequence[Backbone | None]
) -> list[Problem]:
    """Said before anything is trained, since the rows are known and the features need not be.

    Args:
        spec: The job.
        data: Of the job.
        teachers: Those that are given; None for each that the job trains.

    Returns:
        `dataset_too_small`: A basis would be made from a single row, or from none.
    """
    if not isinstance(spec, MethodJobSpec):
        return []
    pointers = [place for pointer, method in method_pointers(spec) for place in _bases(method, pointer)]
    if not pointers:
        return []
    rows = data.taught_rows
    fewest = len(rows)
    for teacher, model in zip(spec.teachers, teachers, strict=True):
        known = model if isinstance(model, RecordedTeacher) else data.modalities[teacher.modality]
        paired = rows_with_teacher(
            torch.from_numpy(data.strata[rows]),
            spec.paired_fraction,
            spec.training.seed,
            torch.from_numpy(known.has(rows)),
        )
        fewest = min(fewest, len(rows) if paired is None else int(paired.sum()))
    if fewest >= MIN_ROWS:
        return []
    detail = (
        f"a basis is made from {MIN_ROWS} training rows with a view of the teacher or more; found {fewest}"
    )
    return [Problem("dataset_too_small", detail, pointer) for pointer in pointers]


def _bases(method: MethodSpec, pointer: str) -> list[str]:
    """Where a method names a basis that is the teacher's."""
    if isinstance(method, CombineSpec):
        return [
            place
            for index, part in enumerate(method.parts)
            for place in _bases(part.method, f"{pointer}/parts/{index}/method")
        ]
    is_teachers = isinstance(method, FDCMKDSpec) and method.split and method.basis in ("pca", "class")
    return [f"{pointer}/basis"] if is_teachers else []
