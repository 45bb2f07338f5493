"""Before training: the given teacher, the data, and the spec with its open choices filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import DatasetError, IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.memory_limit import device_memory_bytes
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import NO_DISTILLATION, Phase, Trained, make_trainee
from fdkd_core.spec import (
    AnyJobSpec,
    ArchitectureSpec,
    MethodSpec,
    StudentSpec,
    TeacherSpec,
    TeachingSpec,
    TrainingSpec,
    TrainSpec,
)
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.spec.compatibility import check, missing_columns
from fdkd_core.teachers import GivenTeacher


def given_teacher(spec: AnyJobSpec, options: RunOptions) -> GivenTeacher | None:
    """The teacher that the spec names, or None when the job trains one (or has none).

    Raises:
        ModelFileError: It is unknown or not usable.
        IncompatibleError: The spec contradicts it.
    """
    if not isinstance(spec, TeachingSpec) or spec.teacher.model is None:
        return None
    reference = spec.teacher.model
    if reference not in options.models:
        raise ModelFileError(
            Problem("not_found", f"the model {quote(reference)} is not known", "/teacher/model")
        )
    return GivenTeacher(spec.teacher, options.models[reference])


def load_data(spec: AnyJobSpec, path: Path, given: GivenTeacher | None, options: RunOptions) -> PairedDataset:
    """The dataset with the job's modalities; a given teacher's goes through its own preprocessing.

    Raises:
        DatasetError: Everything that is wrong with it.
        IncompatibleError: A given teacher cannot read its column.
    """
    modalities = [spec.student.modality]
    recipes = {}
    if isinstance(spec, TeachingSpec):
        if spec.teacher.modality != spec.student.modality:
            modalities.insert(0, spec.teacher.modality)
        if given is not None and given.recipe is not None:
            recipes[spec.teacher.modality] = given.recipe
    try:
        return load_dataset(
            path,
            modalities,
            manifest=options.manifest,
            seed=spec.training.seed,
            recipes=recipes,
            may_lack=[name for name in modalities if name != spec.student.modality],
            cache_dir=options.cache_dir,
            workers=options.decode_workers,
        )
    except DatasetError as error:
        raise DatasetError(_in_spec(error.problems, spec, modalities)) from None
    except IncompatibleError as error:
        raise IncompatibleError(
            [replace(found, pointer="/teacher/model") for found in error.problems]
        ) from None


def _in_spec(problems: Sequence[Problem], spec: AnyJobSpec, modalities: list[str]) -> Iterator[Problem]:
    """The problems of the data; of a column that the job names in vain, where it does so."""
    for problem in problems:
        if problem.code == "missing_column" and problem.pointer in modalities:
            others = [name for name in modalities if name != problem.pointer]
            for found in missing_columns(spec, others):
                yield replace(problem, pointer=found.pointer)
        else:
            yield problem


def resolve_spec(spec: AnyJobSpec, data: PairedDataset, given: GivenTeacher | None) -> AnyJobSpec:
    """The spec with the architectures that were left open filled in: equal runs give equal text."""

    def default_for(modality: str) -> ArchitectureSpec:
        return default_architecture(data.modalities[modality].recipe["kind"])

    student = spec.student
    if student.architecture is None:
        student = student.model_copy(update={"architecture": default_for(student.modality)})
    if isinstance(spec, TrainSpec):
        return spec.model_copy(update={"student": student})
    teacher = spec.teacher
    if given is not None:
        teacher = teacher.model_copy(update={"architecture": given.architecture})
    else:
        teacher = teacher.model_copy(
            update={
                "architecture": teacher.architecture or default_for(teacher.modality),
                "train": teacher_training(spec),
            }
        )
    return spec.model_copy(update={"student": student, "teacher": teacher})


def teacher_training(spec: TeachingSpec) -> TrainingSpec:
    """How the teacher is trained: as stated, or with every default."""
    return spec.teacher.train or TrainingSpec()


def make_phase(
    name: str,
    part: StudentSpec | TeacherSpec,
    training: TrainingSpec,
    method: MethodSpec = NO_DISTILLATION,
    teacher_outputs: ModelOutput | None = None,
    teacher: Trained | None = None,
    paired: Tensor | None = None,
) -> Phase:
    """A phase for one part of the resolved spec."""
    assert part.architecture is not None  # filled in by resolve_spec
    pointer = "/teacher/architecture" if name == "teacher" else "/student/architecture"
    return Phase(
        name, part.modality, part.architecture, pointer, training, method, teacher_outputs, paired, teacher
    )


def check_fit(
    spec: AnyJobSpec, data: PairedDataset, given: GivenTeacher | None, device: torch.device
) -> None:
    """Refuses a job whose parts do not fit together, by the rules that the service applies too.

    Raises:
        IncompatibleError: Architecture, method, batch size, memory and data do not fit together.
    """
    report = given.report if given else None
    problems = check(spec, data.report, report, memory_bytes=device_memory_bytes(device))
    if problems:
        raise IncompatibleError(problems)


def check_phases(spec: AnyJobSpec, data: PairedDataset, given: Backbone | None, device: torch.device) -> None:
    """Builds every model once, before anything is trained or written.

    Raises:
        IncompatibleError: A phase cannot start.
    """
    student = make_phase("student", spec.student, spec.training)
    if isinstance(spec, TeachingSpec):
        teacher = given
        if teacher is None:
            phase = make_phase("teacher", spec.teacher, teacher_training(spec))
            teacher = make_trainee(phase, data, device).model
        outputs = ModelOutput(torch.empty(0, teacher.feature_dim), torch.empty(0, len(data.classes)))
        untrained = Trained(spec.teacher.modality, spec.teacher.architecture, teacher, 0, 0, 0.0)
        for method in spec.methods_used:
            student = make_phase("student", spec.student, spec.training, method, outputs, untrained)
            make_trainee(student, data, device)
        return
    make_trainee(student, data, device)
