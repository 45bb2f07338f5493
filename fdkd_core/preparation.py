"""Before training: the given teacher, the data, and the spec with its open choices filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.basis_fit import basis_problems
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import DatasetError, IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.memory_limit import device_memory_bytes
from fdkd_core.modalities.base import Recipe
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.options import RunOptions
from fdkd_core.phases import NO_DISTILLATION, Phase, Trained, is_teacher, make_trainee
from fdkd_core.spec import (
    AnyJobSpec,
    ArchitectureSpec,
    CompareSpec,
    MethodSpec,
    StudentSpec,
    TaskSpec,
    TeacherSpec,
    TeachingSpec,
    TrainingSpec,
    TrainSpec,
    teacher_name,
    teacher_pointer,
)
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.spec.compare import teacher_training as compared_teacher_training
from fdkd_core.spec.compatibility import check, missing_columns
from fdkd_core.spec.default_fit import fit_defaults
from fdkd_core.spec.judging import judged_training
from fdkd_core.spec.named_models import START_POINTER as START
from fdkd_core.spec.named_models import start_problems
from fdkd_core.starting_weights import StartingWeights
from fdkd_core.teachers import GivenTeacher, RecordedOutputs

Given = Sequence[GivenTeacher | RecordedOutputs | None]
"""One for each teacher of a job, in the order of the spec; None for those that the job trains."""


def given_teachers(spec: AnyJobSpec, options: RunOptions) -> Given:
    """The teachers that the spec names; empty for a job without any.

    Raises:
        ModelFileError: One is unknown or not usable.
        IncompatibleError: The spec contradicts it.
    """
    found: list[GivenTeacher | RecordedOutputs | None] = []
    for index, teacher in enumerate(spec.teachers if isinstance(spec, TeachingSpec) else ()):
        pointer, reference = teacher_pointer(index), teacher.model
        if teacher.outputs_from is not None:
            found.append(RecordedOutputs(teacher.outputs_from, pointer))
            continue
        if reference is not None and reference not in options.models:
            detail = f"the model {quote(reference)} is not known"
            raise ModelFileError(Problem("not_found", detail, f"{pointer}/model"))
        found.append(None if reference is None else GivenTeacher(teacher, options.models[reference], pointer))
    return found


def given_start(spec: AnyJobSpec, options: RunOptions) -> StartingWeights | None:
    """The weights that the student begins with; None where they are drawn.

    Raises:
        ModelFileError: They are unknown or not usable.
        IncompatibleError: The spec contradicts them, or trains more students than one.
    """
    reference = spec.student.start
    if reference is None:
        return None
    refused = start_problems(spec)
    if refused:
        raise IncompatibleError(refused)
    if reference not in options.models:
        raise ModelFileError(Problem("not_found", f"the model {quote(reference)} is not known", START))
    return StartingWeights(spec.student, options.models[reference], spec.task)


def load_data(
    spec: AnyJobSpec, path: Path, given: Given, options: RunOptions, start: StartingWeights | None = None
) -> PairedDataset:
    """The dataset with the job's modalities; a given model's goes through its own preprocessing.

    Raises:
        DatasetError: Everything that is wrong with it.
        IncompatibleError: A given teacher cannot read its column, or two of them read one differently.
    """
    modalities = [spec.student.modality]
    recipes: dict[str, Recipe] = {}
    if isinstance(spec, TeachingSpec):
        taught = [column for teacher in spec.teachers for column in teacher.columns]
        modalities = list(dict.fromkeys(taught + modalities))
        recipes = _recipes(given)
    recipe = None if start is None else start.recipe
    if recipe is not None and not _read_alike(recipes.setdefault(spec.student.modality, recipe), recipe):
        detail = f"a given teacher reads {quote(spec.student.modality)} by another preprocessing"
        raise IncompatibleError(Problem("incompatible", detail, START))
    try:
        return load_dataset(
            path,
            modalities,
            manifest=options.manifest,
            task=spec.task,
            seed=spec.training.seed,
            recipes=recipes,
            may_lack=[name for name in modalities if name != spec.student.modality],
            cache_dir=options.cache_dir,
            workers=options.decode_workers,
        )
    except DatasetError as error:
        raise DatasetError(_in_spec(error.problems, spec, modalities)) from None
    except IncompatibleError as error:
        # Of a column that is read as a given teacher reads it.
        places = {
            teacher.modality: f"{teacher_pointer(index)}/model"
            for index, teacher in reversed(list(enumerate(given)))
            if teacher is not None and teacher.recipe is not None
        }
        if start is not None:
            places.setdefault(start.modality, START)
        raise IncompatibleError(
            [replace(found, pointer=places[str(found.pointer)]) for found in error.problems]
        ) from None


def _recipes(given: Given) -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}
    for index, teacher in enumerate(given):
        if teacher is None or teacher.recipe is None:
            continue
        if not _read_alike(recipes.setdefault(teacher.modality, teacher.recipe), teacher.recipe):
            detail = f"another given teacher reads {quote(teacher.modality)} by another preprocessing"
            raise IncompatibleError(Problem("incompatible", detail, f"{teacher_pointer(index)}/model"))
    return recipes


def _read_alike(first: Recipe, second: Recipe) -> bool:
    """Whether two recipes give the same inputs: a folder has other notes as a teacher than as a start."""
    return {**first, "notes": []} == {**second, "notes": []}


def _in_spec(problems: Sequence[Problem], spec: AnyJobSpec, modalities: list[str]) -> Iterator[Problem]:
    """The problems of the data; of a column that the job names in vain, where it does so."""
    for problem in problems:
        if problem.code == "missing_column" and problem.pointer in modalities:
            others = [name for name in modalities if name != problem.pointer]
            for found in missing_columns(spec, others):
                yield replace(problem, pointer=found.pointer)
        else:
            yield problem


def resolve_spec(
    spec: AnyJobSpec, data: PairedDataset, given: Given, start: StartingWeights | None = None
) -> AnyJobSpec:
    """The spec with what was left open filled in, by data and given models: equal runs give equal text."""

    def default_for(modality: str) -> ArchitectureSpec:
        return default_architecture(data.modalities[modality].recipe["kind"], spec.task)

    student = spec.student
    if start is not None:
        student = student.model_copy(update={"architecture": start.architecture})
    elif student.architecture is None:
        student = student.model_copy(update={"architecture": default_for(student.modality)})
    if isinstance(spec, TrainSpec):
        return spec.model_copy(update={"student": student})

    def resolved(teacher: TeacherSpec, model: GivenTeacher | RecordedOutputs | None) -> TeacherSpec:
        if model is not None:
            return teacher.model_copy(update={"architecture": model.architecture})
        architecture = teacher.architecture or default_for(teacher.modality)
        return teacher.model_copy(
            update={"architecture": architecture, "train": training_of(teacher, spec.task)}
        )

    first, *others = [resolved(teacher, model) for teacher, model in zip(spec.teachers, given, strict=True)]
    changes: dict[str, object] = {"student": student, "teacher": first}
    if others:
        changes["more_teachers"] = tuple(others)
    report = None if given[0] is None else given[0].report
    return fit_defaults(spec.model_copy(update=changes), report)


def training_of(teacher: TeacherSpec, task: TaskSpec) -> TrainingSpec:
    """How a teacher is trained: as stated, or with every default."""
    return judged_training(teacher.train or TrainingSpec(), task)


def teacher_training(spec: TeachingSpec) -> TrainingSpec:
    """How the first teacher is trained."""
    if isinstance(spec, CompareSpec):
        return compared_teacher_training(spec)
    return training_of(spec.teacher, spec.task)


def make_phase(
    name: str,
    part: StudentSpec | TeacherSpec,
    training: TrainingSpec,
    method: MethodSpec = NO_DISTILLATION,
    teacher_outputs: ModelOutput | None = None,
    teacher: Trained | None = None,
    paired: Tensor | None = None,
    start: StartingWeights | None = None,
    answers: NDArray[Any] | None = None,
    is_evened: bool = False,
) -> Phase:
    """A phase for one part of the resolved spec."""
    assert part.architecture is not None  # filled in by resolve_spec
    pointer = "/student/architecture"
    if is_teacher(name):
        pointer = f"{teacher_pointer(int(name.removeprefix('teacher') or 1) - 1)}/architecture"
    return Phase(
        name,
        part.modality,
        part.architecture,
        pointer,
        training,
        method,
        teacher_outputs,
        paired,
        teacher,
        start=start,
        answers=answers,
        is_evened=is_evened,
    )


def check_fit(
    spec: AnyJobSpec, data: PairedDataset, given: Given, device: torch.device, processes: int = 1
) -> None:
    """Refuses a job whose parts do not fit together, by the rules that the service applies too.

    Raises:
        IncompatibleError: Architecture, method, batch size, memory and data do not fit together.
    """
    first, *others = [teacher.report if teacher else None for teacher in given] or [None]
    memory = device_memory_bytes(device)
    problems = check(spec, data.report, first, more_reports=others, memory_bytes=memory, processes=processes)
    if problems:
        raise IncompatibleError(problems)


def check_phases(
    spec: AnyJobSpec,
    data: PairedDataset,
    given: Sequence[Backbone | None],
    device: torch.device,
    start: StartingWeights | None = None,
) -> None:
    """Builds every model once, before anything is trained or written.

    Raises:
        IncompatibleError: A phase cannot start, or would have too few rows of a teacher to look at.
    """
    problems = basis_problems(spec, data, given)
    if problems:
        raise IncompatibleError(problems)
    is_evened = isinstance(spec, TeachingSpec)
    student = make_phase("student", spec.student, spec.training, start=start, is_evened=is_evened)
    if isinstance(spec, TeachingSpec):
        for index, (teacher, model) in enumerate(zip(spec.teachers, given, strict=True)):
            if model is None:
                phase = make_phase(teacher_name(index), teacher, training_of(teacher, spec.task))
                model = make_trainee(phase, data, device).model
            num_logits = model.num_logits if isinstance(model, RecordedTeacher) else len(data.outputs)
            outputs = ModelOutput(torch.empty(0, model.feature_dim), torch.empty(0, num_logits))
            untrained = Trained(teacher.modality, teacher.architecture, model, 0, 0, 0.0)
            for method in spec.methods_used:
                student = make_phase(
                    "student", spec.student, spec.training, method, outputs, untrained, start=start,
                    is_evened=True,
                )  # fmt: skip
                make_trainee(student, data, device)
        return
    make_trainee(student, data, device)
