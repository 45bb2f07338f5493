"""From the body of a request to a job that could start: the checks, those without the database first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import PydanticCustomError

from fdkd_core.errors import InputError, Problem, SpecError, quote
from fdkd_core.spec import AnyJobSpec, TeachingSpec, load_spec, teacher_name
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.cost import parameters
from fdkd_core.spec.default_fit import fit_defaults
from fdkd_core.spec.loading import pointer_token
from fdkd_core.spec.named_models import START, start_problems
from fdkd_core.spec.stated import parsed_architecture
from fdkd_core.spec.strict import refuse_invisible
from fdkd_core.spec.student_start import begun_report
from fdkd_core.spec.task_fit import output_names
from service.jobs.inputs import Inputs
from service.jobs.schemas import MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, JobBody


@dataclass(frozen=True)
class Submission:
    """A body whose content is valid by itself."""

    spec: AnyJobSpec
    labels: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The spec as it is stored: as posted, with every default."""
        return self.spec.model_dump(mode="json")


def read_submission(body: JobBody) -> Submission:
    """Checks all that can be told without the database.

    Raises:
        InputError: With a problem for everything that is wrong, each with its JSON pointer into the body.
    """
    problems = list(_label_problems(body.metadata))
    try:
        spec = load_spec(body.spec)
    except SpecError as error:
        raise InputError([*_in_body(error.problems), *problems]) from None
    problems += _in_body(start_problems(spec))
    if problems:
        raise InputError(problems)
    return Submission(spec, body.metadata)


def fit_to_inputs(submission: Submission, inputs: Inputs) -> Submission:
    """Checks that dataset, given models and spec fit together.

    Returns:
        The same, of what it does by default without that which its teacher cannot serve.

    Raises:
        InputError: With a problem for each reason why the job could not start.
    """
    spec = fit_defaults(submission.spec, inputs.report(teacher_name(0)))
    teachers = spec.teachers if isinstance(spec, TeachingSpec) else ()
    first, *others = [inputs.report(teacher_name(index)) for index in range(len(teachers))] or [None]
    problems = check(
        spec, inputs.dataset.report, first, more_reports=others, start_report=inputs.report(START)
    )
    if problems:
        raise InputError(_in_body(problems))
    return replace(submission, spec=spec)


def student_parameters(submission: Submission, inputs: Inputs) -> int:
    """Numbers that the student will learn."""
    spec, student, report = submission.spec, submission.spec.student, inputs.dataset.report
    column = report["modalities"][student.modality]
    start = inputs.report(START)
    if start is not None:
        column = begun_report(spec.task, student, start)
        architecture = parsed_architecture(column["architecture"])
    else:
        architecture = student.architecture or default_architecture(column["kind"], spec.task)
    outputs = len(output_names(spec.task, report))
    return parameters(architecture, tuple(column["input_shape"]), outputs, column.get("vocab_size"))


def _in_body(problems: tuple[Problem, ...] | list[Problem]) -> list[Problem]:
    """The same problems, with pointers into the body instead of into the spec."""
    return [replace(problem, pointer="/spec" + (problem.pointer or "").rstrip("/")) for problem in problems]


def _label_problems(labels: dict[str, Any]) -> list[Problem]:
    if len(labels) > MAX_LABELS:
        return [_limit(f"has {len(labels)} keys; at most {MAX_LABELS} are allowed", "/metadata")]
    problems = []
    for key, value in labels.items():
        pointer = f"/metadata/{pointer_token(key)}"
        if not 1 <= len(key) <= MAX_LABEL_KEY:
            detail = f"the key has {len(key)} characters; 1 to {MAX_LABEL_KEY} are allowed"
            problems.append(_limit(detail, pointer))
        elif not isinstance(value, str):
            problems.append(Problem("wrong_type", f"found {quote(value)}; text is needed", pointer))
        elif len(value) > MAX_LABEL_VALUE:
            detail = f"has {len(value)} characters; at most {MAX_LABEL_VALUE} are allowed"
            problems.append(_limit(detail, pointer))
        else:
            problems += _invisible(key, pointer) or _invisible(value, pointer)
    return problems


def _limit(detail: str, pointer: str) -> Problem:
    return Problem("metadata_limit", detail, pointer)


def _invisible(text: str, pointer: str) -> list[Problem]:
    try:
        refuse_invisible(text)
    except PydanticCustomError as error:
        return [Problem(error.type, error.message(), pointer)]
    return []
