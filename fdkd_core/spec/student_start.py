"""What a student is that begins with a given model: its network, and how its column is read. No torch.

Mostly what the model is. But a MobileNetV2 that answers once a sample is the encoder of one that answers by
pixel, and then the task says which of them a student becomes.
"""

from __future__ import annotations

from typing import Any

from fdkd_core.errors import Problem, quote
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.column_fit import Report, another_reading, input_mismatch
from fdkd_core.spec.hugging_face.architectures import MobileNetV2Spec
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec
from fdkd_core.spec.job import StudentSpec
from fdkd_core.spec.named_models import START_POINTER
from fdkd_core.spec.stated import parsed_architecture
from fdkd_core.spec.tasks import SegmentationSpec, TaskSpec

_OF_THE_HEAD = frozenset({"name", "output_stride", "classifier_dropout_prob"})
"""Fields of `mobilenet_v2_deeplab` on which no weight depends; a classifier's were chosen for classes."""


def begun_architecture(
    task: TaskSpec, stated: ArchitectureSpec | None, held: ArchitectureSpec
) -> ArchitectureSpec:
    """The network of a student that begins with a model.

    Args:
        task: Of the job.
        stated: What the spec says of the student.
        held: The model's network.

    Returns:
        `held`; but where the task is answered by pixel and the model is a MobileNetV2 for classes, DeepLab's
        head on it, with the fields of the head as stated, or their defaults.
    """
    if not isinstance(task, SegmentationSpec) or not isinstance(held, MobileNetV2Spec):
        return held
    own = stated if isinstance(stated, MobileNetV2DeepLabSpec) else MobileNetV2DeepLabSpec()
    encoder = MobileNetV2DeepLabSpec.model_fields.keys() - _OF_THE_HEAD
    return own.model_copy(update={name: getattr(held, name) for name in encoder})


def begun_report(task: TaskSpec, student: StudentSpec, model: Report) -> Report:
    """The report on what a student becomes that begins with a model.

    Args:
        task: Of the job.
        student: Whose `start` names it.
        model: The report on it.

    Returns:
        The same, but where another network is made of it: that network, which sees pictures as a whole, since
        masks show all of them. How the model read them is then no longer said.
    """
    if model["modality_kind"] is None or model["architecture"] is None:
        return model
    held = parsed_architecture(model["architecture"])
    begun = begun_architecture(task, student.architecture, held)
    if begun is held:
        return model
    changes: dict[str, Any] = {"architecture": begun.model_dump(mode="json")}
    if model.get("shortest_edge") is not None:
        changes |= {"shortest_edge": None, "preprocessing_sha256": None}
    return {**model, **changes}


def stated_problems(stated: ArchitectureSpec | None, begun: ArchitectureSpec) -> list[Problem]:
    """Why the architecture that a spec states is not the one that it begins with: `incompatible`, by field.

    Args:
        stated: For the student.
        begun: As `begun_architecture` says.
    """
    if stated is None or stated == begun:
        return []
    pointer = "/student/architecture"
    if type(stated) is not type(begun):
        detail = f"`start` makes it {quote(begun.model_dump(mode='json'), 160)}; leave this out"
        return [Problem("incompatible", detail, pointer)]
    return [
        Problem(
            "incompatible",
            f"found {quote(getattr(stated, name))}; `start` makes it {quote(getattr(begun, name))}",
            f"{pointer}/{name}",
        )
        for name in type(begun).model_fields
        if getattr(stated, name) != getattr(begun, name)
    ]


def start_fit_problems(spec: StudentSpec, source: Report, column: Report, model: Report) -> list[Problem]:
    """Why a student cannot begin with a model: all of them `incompatible`.

    Classes need not be the data's: the last layer is then drawn anew. Nor need sizes of pictures or
    vocabularies, since the column is read by the model's own preprocessing.

    Args:
        spec: The student.
        source: Its column.
        column: The same, or the report on the given teacher that reads it too.
        model: On what `start` names, as `begun_report` gives it.
    """
    if model["modality_kind"] is None:
        detail = (
            "weights to begin with come with their preprocessing, as a bundle or a Hugging Face folder; this "
            f"is a file of format {model['format']}"
        )
        return [Problem("incompatible", detail, START_POINTER)]
    problems = stated_problems(spec.architecture, parsed_architecture(model["architecture"]))
    mismatch = input_mismatch(source, model)
    if mismatch is None and another_reading(column, model):
        mismatch = f"a given teacher reads {quote(spec.modality)} by another preprocessing"
    if mismatch is not None:
        problems.append(Problem("incompatible", mismatch, START_POINTER))
    return problems
