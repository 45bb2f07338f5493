"""Whether what segmentation holds in memory beside the networks fits: answers, and a teacher's maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.cost import memory_problems, training_bytes
from fdkd_core.spec.dense import DenseSpec
from fdkd_core.spec.dense_cost import answer_bytes, stored_bytes, taught_bytes
from fdkd_core.spec.frozen_teachers import is_onnx
from fdkd_core.spec.job import TeacherSpec, TeachingSpec, teacher_pointer
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.stated import parsed_architecture, stated_or_default
from fdkd_core.spec.tasks import SegmentationSpec
from fdkd_core.spec.training import TrainingSpec

Report = Mapping[str, Any]


def onnx_refusals(spec: TeachingSpec, reports: Sequence[Report | None]) -> list[Problem]:
    """ONNX files teach by one answer a sample; code `incompatible`."""
    if not isinstance(spec.task, SegmentationSpec):
        return []
    detail = (
        "ONNX files give one answer a sample here, no map of them; segmentation takes bundles and weights"
    )
    return [
        Problem("incompatible", detail, f"{teacher_pointer(index)}/model")
        for index, report in enumerate(reports)
        if report is not None and is_onnx(report)
    ]


def map_problems(
    spec: AnyJobSpec, dataset: Report, reports: Sequence[Report | None], memory_bytes: int
) -> list[Problem]:
    """Problems `exceeds_limit` of a segmentation whose networks fit by themselves.

    Args:
        spec: The job; every column and architecture in it is known to fit.
        dataset: The report on it.
        reports: On given teachers, one for each teacher.
        memory_bytes: Of the device.
    """
    if not isinstance(spec.task, SegmentationSpec):
        return []
    classes, mask = len(dataset["classes"]), tuple(dataset["mask_shape"])
    trained: list[tuple[Any, Any, TrainingSpec, str, int]] = []
    held = most = 0
    if isinstance(spec, TeachingSpec):
        rows = dataset["splits"]["train"]["rows"]
        for index, (teacher, report) in enumerate(zip(spec.teachers, reports, strict=True)):
            network, shape = _teacher(spec, teacher, report, dataset)
            if not isinstance(network, DenseSpec):
                return []
            held += stored_bytes(network, shape, classes, rows)
            sizes = (network, shape, classes, spec.training.batch_size)
            most += max((taught_bytes(method, *sizes) for method in spec.methods_used), default=0)
            if teacher.is_trained:
                training = teacher.train or TrainingSpec()
                trained.append((network, shape, training, f"{teacher_pointer(index)}/architecture", 0))
    column = dataset["modalities"][spec.student.modality]
    student = stated_or_default(spec.student.architecture, column, spec.task)
    trained.append(
        (student, tuple(column["input_shape"]), spec.training, "/student/architecture", held + most)
    )
    problems = []
    for network, shape, training, pointer, beside in trained:
        needed = training_bytes(network, shape, classes, batch_size=training.batch_size)
        needed += answer_bytes(classes, mask, training.batch_size) + beside
        problems += memory_problems(needed, memory_bytes, training.batch_size, pointer)
    return problems


def _teacher(
    spec: TeachingSpec, teacher: TeacherSpec, report: Report | None, dataset: Report
) -> tuple[Any, tuple[int, ...]]:
    """A teacher's network, and the shape of what it sees."""
    column = dataset["modalities"][teacher.modality]
    if report is None:
        return stated_or_default(teacher.architecture, column, spec.task), tuple(column["input_shape"])
    network = teacher.architecture or parsed_architecture(report["architecture"])
    return network, tuple(report["input_shape"] or column["input_shape"])
