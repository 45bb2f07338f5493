"""Whether what segmentation holds in memory beside the networks fits: answers, and a teacher's maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.cost import memory_problems, room_problems, training_bytes
from fdkd_core.spec.dense import DenseSpec
from fdkd_core.spec.dense_cost import answer_bytes, asked_bytes, map_numbers, stored_bytes, taught_bytes
from fdkd_core.spec.frozen_teachers import is_onnx
from fdkd_core.spec.job import TeacherSpec, TeachingSpec, teacher_pointer
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.onnx_outputs import choose_outputs
from fdkd_core.spec.stated import parsed_architecture, stated_or_default
from fdkd_core.spec.tasks import SegmentationSpec
from fdkd_core.spec.training import TrainingSpec

Report = Mapping[str, Any]


def map_problems(
    spec: AnyJobSpec,
    dataset: Report,
    reports: Sequence[Report | None],
    memory_bytes: int,
    start: Report | None = None,
) -> list[Problem]:
    """Problems `exceeds_limit` of a segmentation whose networks fit by themselves.

    Args:
        spec: The job; every column and architecture in it is known to fit.
        dataset: The report on it.
        reports: On given teachers, one for each teacher.
        memory_bytes: Of the device.
        start: On the model that the student begins with.
    """
    if not isinstance(spec.task, SegmentationSpec):
        return []
    classes, mask = len(dataset["classes"]), tuple(dataset["mask_shape"])
    trained: list[tuple[Any, Any, TrainingSpec, str, int]] = []
    problems: list[Problem] = []
    held = most = 0
    if isinstance(spec, TeachingSpec):
        rows = dataset["splits"]["train"]["rows"]
        for index, (teacher, report) in enumerate(zip(spec.teachers, reports, strict=True)):
            pointer = teacher_pointer(index)
            network, shape = _teacher(spec, teacher, report, dataset)
            if network is None:
                numbers = _frozen_numbers(teacher, report, dataset)
                asked = 0 if report is None else asked_bytes(numbers)
                where = f"{pointer}/outputs_from" if report is None else f"{pointer}/model"
                problems += _kept_problems(stored_bytes(numbers, rows) + asked, memory_bytes, where)
            elif isinstance(network, DenseSpec):
                numbers = map_numbers(network, shape, classes)
            else:
                return []
            held += stored_bytes(numbers, rows)
            batch = spec.training.batch_size
            most += max((taught_bytes(method, numbers, batch) for method in spec.methods_used), default=0)
            if teacher.is_trained:
                training = teacher.train or TrainingSpec()
                trained.append((network, shape, training, f"{pointer}/architecture", 0))
    column, stated = dataset["modalities"][spec.student.modality], spec.student.architecture
    if start is not None:
        column, stated = start, parsed_architecture(start["architecture"])
    student = stated_or_default(stated, column, spec.task)
    trained.append(
        (student, tuple(column["input_shape"]), spec.training, "/student/architecture", held + most)
    )
    if problems:
        return problems
    for network, shape, training, pointer, beside in trained:
        needed = training_bytes(network, shape, classes, batch_size=training.batch_size)
        needed += answer_bytes(classes, mask, training.batch_size) + beside
        problems += memory_problems(needed, memory_bytes, training.batch_size, pointer)
    return problems


def _kept_problems(needed_bytes: int, memory_bytes: int, pointer: str) -> list[Problem]:
    """What a teacher that is not trained needs alone: nothing about the student would make it less."""
    what, remedy = "keeping the teacher's maps of all training rows", "smaller maps, fewer channels or rows"
    return room_problems(needed_bytes, memory_bytes, what, remedy, pointer)


def _frozen_numbers(teacher: TeacherSpec, report: Report | None, dataset: Report) -> int:
    """In the maps of a row, of an ONNX file or of columns, which are known to fit."""
    if report is None:
        return sum(prod(dataset["modalities"][name]["input_shape"]) for name in teacher.columns)
    logits, features, _ = choose_outputs(teacher.outputs, report["outputs"], by_pixel=True)
    return sum(prod(output["shape"]) for output in (logits, features) if output is not None)


def _teacher(
    spec: TeachingSpec, teacher: TeacherSpec, report: Report | None, dataset: Report
) -> tuple[Any, tuple[int, ...]]:
    """A teacher's network, and the shape of what it sees; no network of an ONNX file, or of columns."""
    if teacher.outputs_from is not None or (report is not None and is_onnx(report)):
        return None, ()
    column = dataset["modalities"][teacher.modality]
    if report is None:
        return stated_or_default(teacher.architecture, column, spec.task), tuple(column["input_shape"])
    network = teacher.architecture or parsed_architecture(report["architecture"])
    return network, tuple(report["input_shape"] or column["input_shape"])
