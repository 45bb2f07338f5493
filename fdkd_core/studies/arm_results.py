"""Results of arms that were run elsewhere, as a file: what `--arms ARMS.json` reads.

    {
      "teacher": {...},          # ModelResult of the shared teacher, or null where it is not known
      "arms": {
        "no_teacher": {...},     # StudyResult: the arm's result.json
        "logit_kd": {"error": "diverged: loss term ..."}   # or why there is none
      }
    }

The labels are those of `fdkd_core.spec.compare.arms`, every one of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from fdkd_core.errors import Problem, SpecError, quote
from fdkd_core.spec import CompareSpec
from fdkd_core.spec.compare import arms, teacher_training
from fdkd_core.spec.result import ModelResult, StudyResult
from fdkd_core.spec.strict import StrictModel
from fdkd_core.studies.conclusion import Outcome


class ArmError(StrictModel):
    """An arm without a result."""

    error: str


class ArmResults(StrictModel):
    """The file."""

    teacher: ModelResult | None = None
    arms: dict[str, StudyResult | ArmError]

    def outcomes(self) -> dict[str, Outcome]:
        """By label, as `conclude` takes them."""
        return {label: arm.error if isinstance(arm, ArmError) else arm for label, arm in self.arms.items()}

    @property
    def shared_teacher(self) -> ModelResult | None:
        """As the file has it, else as an arm measured it."""
        if self.teacher is not None:
            return self.teacher
        measured = (arm.teacher for arm in self.arms.values() if isinstance(arm, StudyResult))
        return next((teacher for teacher in measured if teacher is not None), None)

    @property
    def seconds(self) -> float:
        """Training of the shared teacher, and the run of each arm that has a result, one after the other.

        When the arms began, and which ran side by side, no result says.
        """
        teacher = self.shared_teacher
        found = (arm.seconds for arm in self.arms.values() if isinstance(arm, StudyResult))
        return sum(found, 0.0 if teacher is None else teacher.seconds)

    @property
    def data_sha256(self) -> str:
        """Of the data that all arms saw; "" when there is no result."""
        return next((arm.data_sha256 for arm in self.arms.values() if isinstance(arm, StudyResult)), "")


def read_arm_results(path: Path, spec: CompareSpec) -> ArmResults:
    """Reads the results of a comparison's arms.

    Raises:
        SpecError: `invalid_arms`: the file is not what the docstring above shows, lacks or adds an arm, or
            holds results on other data or of another method than the comparison's.
    """
    try:
        found = ArmResults.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(Problem("invalid_arms", f"cannot read {path}: {error.strerror}")) from None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = "/" + "/".join(str(part) for part in detail["loc"])
        raise SpecError(Problem("invalid_arms", f"{quote(where)}: {detail['msg']}")) from None
    problems = list(_problems(found, spec))
    if problems:
        raise SpecError(problems)
    return found


def _problems(found: ArmResults, spec: CompareSpec) -> list[Problem]:
    wanted = arms(spec, None)
    problems = [
        f"there is no result for the arm {quote(label)}" for label in wanted if label not in found.arms
    ]
    problems += [
        f"the comparison has no arm {quote(label)}"
        for label in found.arms
        # Releases before ran this control for methods to which it is none: no figure of it is looked at.
        if label not in wanted and not label.endswith(" permuted_channels")
    ]
    results = {label: arm for label, arm in found.arms.items() if isinstance(arm, StudyResult)}
    if len({arm.data_sha256 for arm in results.values()}) > 1:
        problems.append("the results are on different data")
    for label, arm in results.items():
        study = wanted.get(label)
        if study is not None and (arm.method.get("name"), arm.teacher_view) != (
            study.method.name,
            study.teacher_view,
        ):
            problems.append(f"the result for {quote(label)} is of another method or view of the teacher")
    return [Problem("invalid_arms", problem) for problem in problems]


def resolved_spec(spec: CompareSpec, found: ArmResults) -> CompareSpec:
    """The comparison with the open choices filled in that its arms ran with, as a run with data has it."""
    document = spec.model_dump(mode="json")
    result = next((arm for arm in found.arms.values() if isinstance(arm, StudyResult)), None)
    if result is not None:
        document["student"]["architecture"] = result.student.architecture
    teacher = found.shared_teacher
    if teacher is not None and spec.teacher.outputs_from is None and teacher.architecture["name"] != "onnx":
        # No spec states what an ONNX file or a column is.
        document["teacher"]["architecture"] = teacher.architecture
    if spec.teacher.is_trained:
        document["teacher"]["train"] = teacher_training(spec).model_dump(mode="json")
    return CompareSpec.model_validate_json(json.dumps(document))
