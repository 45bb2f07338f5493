"""Whether a job can start, told from the reports on its data and its teacher: no torch, no data.

`run` refuses by the same function, so that what is accepted when a job is posted also starts hours later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fdkd_core.errors import Problem, quote
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.catalogue import (
    architecture_problems,
    batch_problems,
    class_problems,
    data_dimensions,
    feature_dim,
    method_problems,
    task_problems,
)
from fdkd_core.spec.column_fit import another_reading, cut_problems, input_mismatch
from fdkd_core.spec.cost import machine_memory_bytes, memory_problems, size_problems, training_bytes
from fdkd_core.spec.dense import answer_problems
from fdkd_core.spec.dense_fit import map_problems
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.diagnosis_fit import pair_problems
from fdkd_core.spec.fold_fit import fold_problems
from fdkd_core.spec.frozen_teachers import frozen_problems, is_onnx, method_list_problems, method_pointers
from fdkd_core.spec.job import TeacherSpec, TeachingSpec, teacher_pointer
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.named_models import START_POINTER
from fdkd_core.spec.onnx_outputs import onnx_teacher_problems
from fdkd_core.spec.output_columns import output_column_problems
from fdkd_core.spec.processes import process_problems, stated_processes
from fdkd_core.spec.stated import parsed_architecture, stated_or_default
from fdkd_core.spec.student_start import begun_report, start_fit_problems
from fdkd_core.spec.task_fit import (
    label_problems,
    output_names,
    pairing_problems,
    view_problems,
    weighting_problems,
)
from fdkd_core.spec.tasks import SegmentationSpec, TaskSpec
from fdkd_core.spec.training import TrainingSpec
from fdkd_core.spec.unlabelled_fit import unlabelled_problems, unlabelled_rows

Report = Mapping[str, Any]
"""A JSON report, as `fdkd_core.validate` writes it."""


def check(
    spec: AnyJobSpec,
    dataset_report: Report,
    teacher_report: Report | None = None,
    *,
    more_reports: Sequence[Report | None] = (),
    start_report: Report | None = None,
    memory_bytes: int | None = None,
    processes: int | None = None,
) -> list[Problem]:
    """All reasons why the job cannot start, each with a JSON pointer into the spec; empty when it can.

    Args:
        spec: The job.
        dataset_report: Of `load_dataset`, over all modality columns or at least those of the job.
        teacher_report: Of the model that `teacher.model` names; see `fdkd_core.validate`.
        more_reports: The same for each of `more_teachers`, null for those that are trained.
        start_report: Of the model that `student.start` names. Null where there is none, and where spec and
            dataset report speak of its architecture and its preprocessing already.
        memory_bytes: Of the device that will train; null takes this machine's.
        processes: That train one model; null takes what the spec asks for.

    Returns:
        Problems with the codes `missing_column`, `missing_field`, `incompatible`, `dataset_too_small` and
        `exceeds_limit`, `not_supported`.

    Raises:
        ValueError: The spec names a teacher model, and there is no report on it.
    """
    memory = machine_memory_bytes() if memory_bytes is None else memory_bytes
    if start_report is not None:
        start_report = begun_report(spec.task, spec.student, start_report)
    problems = missing_columns(spec, list(dataset_report["modalities"]))
    classes = dataset_report["classes"]
    problems += label_problems(spec.task, dataset_report)
    columns = dict(dataset_report["modalities"])
    dims: list[int | None] = []
    reports: list[Report | None] = []
    if isinstance(spec, TeachingSpec):
        reports = [teacher_report, *more_reports]
        reports += [None] * (len(spec.teachers) - len(reports))
        found, dims = _check_teachers(spec, columns, reports, dataset_report, memory)
        problems += found + frozen_problems(spec, reports, dims)
    if spec.student.modality in columns:
        column, stated = columns[spec.student.modality], spec.student.architecture
        source = dataset_report["modalities"][spec.student.modality]
        misfits: list[Problem] = []
        if start_report is not None:
            misfits = start_fit_problems(spec.student, source, column, start_report)
        if start_report is not None and not misfits:
            column, stated = start_report, parsed_architecture(start_report["architecture"])
        if spec.student.start is not None:
            misfits += cut_problems(spec.task, source, column, START_POINTER)
        architecture = stated_or_default(stated, column, spec.task)
        problems += misfits or _check_trained(
            spec.task, architecture, column, spec.training, dataset_report, "/student", "/training", memory,
            unlabelled_rows(dataset_report) if isinstance(spec, TeachingSpec) else 0,
        )  # fmt: skip
        problems += fold_problems(spec, dataset_report, _most_training_rows(dataset_report, column))
    problems += pairing_problems(spec) + view_problems(spec) + weighting_problems(spec)
    problems += unlabelled_problems(spec, dataset_report)
    if isinstance(spec, DiagnoseSpec):  # a column that is missing is refused as such
        there = dataset_report["modalities"]  # a given teacher's report, in `columns`, counts no rows
        seen = [there[name] for name in (spec.teacher.modality, spec.student.modality) if name in there]
        problems += pair_problems(*(_most_training_rows(dataset_report, column) for column in seen))
    problems += process_problems(spec, processes or stated_processes(spec))
    if not problems:
        problems += map_problems(spec, dataset_report, reports, memory, start_report)
    if isinstance(spec, TeachingSpec):
        problems += method_list_problems(spec)
        for pointer, method in method_pointers(spec):
            unfit = task_problems(method, spec.task, pointer)
            if not unfit and len(classes) >= 2:  # fewer are refused above, whatever the method
                unfit = class_problems(method, len(classes), pointer)
            problems += unfit
            problems += batch_problems(method, spec.training.batch_size)
            for dim, gives_logits in dict.fromkeys(zip(dims, map(_gives_logits, spec.teachers), strict=True)):
                if dim is not None:
                    problems += method_problems(method, dim, pointer, gives_logits=gives_logits)
    return problems


def _check_teachers(
    spec: TeachingSpec,
    columns: dict[str, Report],
    reports: Sequence[Report | None],
    dataset: Report,
    memory_bytes: int,
) -> tuple[list[Problem], list[int | None]]:
    """Problems of all teachers, and D of each one's feature where it is known.

    Args:
        spec: The job.
        columns: Of the dataset, by modality. A column that goes through a given teacher's preprocessing is
            exchanged for that teacher's report.
        reports: On the given teachers, null for those that are trained.
        dataset: The report on it.
        memory_bytes: Of the device.

    Raises:
        ValueError: A report is missing.
    """
    problems: list[Problem] = []
    dims: list[int | None] = [None] * len(spec.teachers)
    read = dict(columns)
    for index, (teacher, report) in enumerate(zip(spec.teachers, reports, strict=True)):
        pointer = teacher_pointer(index)
        if teacher.outputs_from is not None:
            if isinstance(spec.task, SegmentationSpec) and "mask_shape" not in dataset:
                continue  # its labels are refused already, and say nothing of how large maps may be
            names = output_names(spec.task, dataset)
            masks = dataset["mask_shape"] if isinstance(spec.task, SegmentationSpec) else None
            found = output_column_problems(teacher.outputs_from, read, names, pointer, mask_shape=masks)
            if not found and all(name in read for name in teacher.columns):
                features = teacher.outputs_from.features
                dims[index] = 0 if features is None else read[features]["input_shape"][0]
            problems += found
            continue
        if teacher.model is None or teacher.modality not in read:
            continue
        if report is None:
            raise ValueError(f"the report on the model that {pointer}/model names is missing")
        found, dims[index] = _check_given(
            spec.task, teacher, read[teacher.modality], dataset, report, pointer
        )
        if not found and another_reading(columns[teacher.modality], report):
            detail = f"another given teacher reads {quote(teacher.modality)} by another preprocessing"
            found.append(Problem("incompatible", detail, f"{pointer}/model"))
        problems += found
        if report["modality_kind"] is not None and not found:
            columns[teacher.modality] = report
    for index, teacher in enumerate(spec.teachers):
        if teacher.is_trained and teacher.modality in columns:
            pointer, column = teacher_pointer(index), columns[teacher.modality]
            architecture = stated_or_default(teacher.architecture, column, spec.task)
            dims[index] = feature_dim(architecture)
            training = teacher.train or TrainingSpec()
            problems += _check_trained(
                spec.task, architecture, column, training, dataset, pointer, f"{pointer}/train", memory_bytes
            )
    return problems, dims


def missing_columns(spec: AnyJobSpec, columns: list[str]) -> list[Problem]:
    """A problem `missing_column` for each modality of the job that is not among `columns`."""
    wanted = {"/student/modality": spec.student.modality}
    if isinstance(spec, TeachingSpec):
        for index, teacher in reversed(list(enumerate(spec.teachers))):
            wanted = {**_columns_by_pointer(teacher, teacher_pointer(index)), **wanted}
    there = ", ".join(quote(name, 64) for name in columns[:20])
    return [
        Problem("missing_column", f"there is no column {quote(name)}; the data has {there}", pointer)
        for pointer, name in wanted.items()
        if name not in columns
    ]


def _columns_by_pointer(teacher: TeacherSpec, pointer: str) -> dict[str, str]:
    """The columns that a teacher needs, each with the place that names it."""
    if teacher.outputs_from is None:
        return {f"{pointer}/modality": teacher.modality}
    named = teacher.outputs_from.model_dump(exclude_none=True)
    return {f"{pointer}/outputs_from/{role}": name for role, name in named.items()}


def _gives_logits(teacher: TeacherSpec) -> bool:
    return teacher.outputs_from is None or teacher.outputs_from.logits is not None


def stated_architecture_problems(
    spec: TeacherSpec, model: Report, pointer: str = "/teacher"
) -> list[Problem]:
    """What is wrong with `architecture` beside a model: weights without a known one need it.

    It must be the model's own. And with `outputs`, which only an ONNX file has.

    Args:
        spec: The teacher.
        model: The report on its model.
        pointer: Where the teacher stands in the spec.
    """
    if not is_onnx(model) and spec.outputs is not None:
        detail = "only an ONNX file has outputs to choose from; leave them out"
        return [Problem("incompatible", detail, f"{pointer}/outputs")]
    pointer = f"{pointer}/architecture"
    if is_onnx(model):
        if spec.architecture is None:
            return []
        return [Problem("incompatible", "an ONNX file holds its network itself; leave this out", pointer)]
    if spec.architecture is None:
        if model["architecture"] is None:
            return [Problem("missing_field", "is required with a weights file", pointer)]
        return []
    if model["architecture"] is not None and spec.architecture != parsed_architecture(model["architecture"]):
        detail = f"the model holds {quote(model['architecture'], 160)}"
        if model["modality_kind"] is not None:
            detail += "; leave the architecture out"
        return [Problem("incompatible", detail, pointer)]
    return []


def _check_given(
    task: TaskSpec, spec: TeacherSpec, column: Report, dataset: Report, model: Report, pointer: str
) -> tuple[list[Problem], int | None]:
    """Problems of a teacher that is not trained, and D of its feature where it is known."""
    problems = stated_architecture_problems(spec, model, pointer)
    if problems:
        return problems, None
    classes = output_names(task, dataset)
    if is_onnx(model):
        return onnx_teacher_problems(spec.outputs, column, classes, model, pointer, task=task)
    architecture = spec.architecture or parsed_architecture(model["architecture"])
    if model["modality_kind"] is None:
        problems = answer_problems(architecture, task, column["kind"], pointer)
        problems = problems or _check_weights(architecture, column, classes, model, pointer)
        return problems, feature_dim(architecture)
    mismatch = input_mismatch(column, model)
    if mismatch:
        problems.append(Problem("incompatible", mismatch, f"{pointer}/model"))
    problems += cut_problems(task, column, model, f"{pointer}/model")
    # Bundles are told apart by their task only since there are others.
    if model.get("task", "classification") != task.kind:
        detail = f"the teacher was trained for {model.get('task', 'classification')}; the job is {task.kind}"
        problems.append(Problem("incompatible", detail, f"{pointer}/model"))
    elif list(model["classes"]) != classes:
        what = "numbers" if task.kind == "regression" else "classes"
        detail = f"the teacher knows the {what} {quote(model['classes'])}; the dataset has {quote(classes)}"
        if task.kind == "retrieval":
            detail = (
                f"the teacher's embeddings have {len(model['classes'])} numbers; the job's {len(classes)}"
            )
        problems.append(Problem("incompatible", detail, f"{pointer}/model"))
    return problems, feature_dim(architecture)


def _check_weights(
    architecture: ArchitectureSpec, column: Report, classes: list[str], model: Report, pointer: str
) -> list[Problem]:
    """Bare weights say little: what their shapes say must be what the data would make them."""
    shape, vocab_size = tuple(column["input_shape"]), column.get("vocab_size")
    problems = architecture_problems(architecture, shape, vocab_size, f"{pointer}/architecture")
    if problems:
        return problems
    wanted = data_dimensions(architecture, shape, len(classes), vocab_size)
    return [
        Problem(
            "incompatible",
            f"the weights have {name} {model['dimensions'][name]}; this dataset makes it {size}",
            f"{pointer}/model",
        )
        for name, size in wanted.items()
        if model["dimensions"][name] != size
    ]


def _check_trained(
    task: TaskSpec,
    architecture: ArchitectureSpec,
    column: Report,
    training: TrainingSpec,
    dataset: Report,
    pointer: str,
    training_pointer: str,
    memory_bytes: int,
    more_rows: int = 0,
) -> list[Problem]:
    """Problems of a model that the job trains; rows without a label are more rows to a student."""
    problems = []
    rows = _most_training_rows(dataset, column) + more_rows
    if rows < training.batch_size:
        detail = f"batches of {training.batch_size} need at least as many training rows; found {rows}"
        problems.append(Problem("dataset_too_small", detail, f"{training_pointer}/batch_size"))
    unfit = answer_problems(architecture, task, column.get("kind") or column["modality_kind"], pointer)
    if unfit:
        return problems + unfit
    shape, vocab_size = tuple(column["input_shape"]), column.get("vocab_size")
    pointer = f"{pointer}/architecture"
    size = (architecture, shape, len(output_names(task, dataset)), vocab_size)
    refused = architecture_problems(architecture, shape, vocab_size, pointer) or size_problems(*size, pointer)
    if refused:
        return problems + refused
    needed = training_bytes(*size, batch_size=training.batch_size)
    return problems + memory_problems(needed, memory_bytes, training.batch_size, pointer)


def _most_training_rows(dataset: Report, column: Report) -> int:
    """Training rows that have a modality, whatever the seed.

    How many a cut by groups leaves depends on which groups it takes.
    """
    rows: int = dataset["splits"]["train"]["rows"] - column.get("training_rows_without", 0)
    if dataset.get("validation_cut_by") == "group":
        rows += dataset["splits"]["val"]["rows"] - 1
    return rows
