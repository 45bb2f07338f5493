"""Which outputs of an ONNX file teach, and whether the file fits a job: told from its report alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from fdkd_core.errors import Problem, quote
from fdkd_core.spec.dense import scene_problems
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.tasks import SegmentationSpec, TaskSpec

MAX_FEATURE_DIM = 65_536
ANSWER_AXES = (1, 3)
"""Of one row of what may teach: a vector, or a map [channels, height, width]."""
_PROBABILITIES = frozenset({"Softmax", "Sigmoid", "HardSigmoid"})

Report = Mapping[str, Any]
OutputName = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
"""Of an output in an ONNX file: visible ASCII without spaces."""


class TeacherOutputsSpec(StrictModel):
    """Which outputs of an ONNX teacher are looked at."""

    logits: OutputName | None = None
    """[batch, classes], before any softmax; of a segmentation [batch, classes, height, width]. Null: the one
    called `logits`, else the only output of as many axes that is not the features."""
    features: OutputName | None = None
    """[batch, D]: the pooled vector that the classifier reads; of a segmentation its map [batch, D, height,
    width], whose size need not be that of the logits. Null: the one called `features`; without it only
    methods on logits can be used."""


def choose_outputs(
    stated: TeacherOutputsSpec | None,
    outputs: Sequence[Report],
    pointer: str = "/teacher",
    *,
    by_pixel: bool = False,
) -> tuple[Report | None, Report | None, list[Problem]]:
    """The outputs that are logits and features; None where there is none, or a problem about it.

    Args:
        stated: What the spec says.
        outputs: Of the report: `name`, `shape` of one row or null where there are no rows of floats, and
            `made_by`, the operator.
        pointer: Where the teacher stands in the spec.
        by_pixel: Whether maps are wanted, as by a segmentation, and not vectors.
    """
    stated = stated or TeacherOutputsSpec()
    axes = 3 if by_pixel else 1
    fitting = {
        output["name"]: output for output in outputs if output["shape"] and len(output["shape"]) == axes
    }
    problems = []
    for role, wanted in (("logits", stated.logits), ("features", stated.features)):
        if wanted is not None and wanted not in fitting:
            detail = _not_there(wanted, outputs, by_pixel=by_pixel)
            problems.append(Problem("incompatible", detail, f"{pointer}/outputs/{role}"))
    if problems:
        return None, None, problems
    features = fitting.get(stated.features or "features")
    if stated.features is None and features is not None and stated.logits == "features":
        features = None
    logits = fitting.get(stated.logits or "logits")
    if logits is None:
        others = [output for name, output in fitting.items() if output is not features]
        if len(others) != 1:
            names = ", ".join(quote(output["name"], 30) for output in others[:4])
            none = f"there is no {'map' if by_pixel else 'vector'} of them beside the features"
            detail = f"say which output is the logits: {names or none}"
            return None, features, [Problem("missing_field", detail, f"{pointer}/outputs/logits")]
        (logits,) = others
    if logits is features:
        detail = f"found {quote(logits['name'])} for logits and features; they are two outputs"
        return logits, None, [Problem("incompatible", detail, f"{pointer}/outputs/features")]
    return logits, features, []


def onnx_teacher_problems(
    outputs: TeacherOutputsSpec | None,
    column: Report,
    classes: Sequence[str],
    model: Report,
    pointer: str = "/teacher",
    *,
    task: TaskSpec | None = None,
) -> tuple[list[Problem], int | None]:
    """Why an ONNX file cannot teach, and D of its feature: 0 where it gives none, null where that is open.

    Args:
        outputs: As in the spec.
        column: Of the dataset's report. Its input goes through the dataset's own preprocessing.
        classes: Of the dataset.
        model: The report on the file.
        pointer: Where the teacher stands in the spec.
        task: Of the job; null for one that answers once a sample.
    """
    by_pixel = isinstance(task, SegmentationSpec)
    logits, features, problems = choose_outputs(outputs, model["outputs"], pointer, by_pixel=by_pixel)
    if by_pixel:
        problems += scene_problems(column["kind"], pointer)
    if list(column["input_shape"]) != list(model["input_shape"]):
        detail = (
            f"the model takes samples of shape {quote(list(model['input_shape']))}; this column gives "
            f"{quote(list(column['input_shape']))}"
        )
        problems.append(Problem("incompatible", detail, f"{pointer}/model"))
    wanted = "float32" if column.get("vocab_size") is None else "int64"
    if model["input_dtype"] != wanted:
        detail = f"the model takes {model['input_dtype']}; this column gives {wanted}"
        problems.append(Problem("incompatible", detail, f"{pointer}/model"))
    if logits is not None:
        if logits["shape"][0] != len(classes):
            detail = (
                f"the logits {quote(logits['name'])} are of {logits['shape'][0]} classes; the dataset has "
                f"{len(classes)}"
            )
            problems.append(Problem("incompatible", detail, f"{pointer}/model"))
        if logits["made_by"] in _PROBABILITIES:
            detail = f"{quote(logits['name'])} comes from {logits['made_by']}; logits are needed, before it"
            problems.append(Problem("incompatible", detail, f"{pointer}/outputs/logits"))
    if by_pixel and len(model["input_shape"]) == 3:
        problems += _too_large({"logits": logits, "features": features}, model["input_shape"], pointer)
    dim = features["shape"][0] if features is not None else 0
    if dim > MAX_FEATURE_DIM:
        detail = f"the feature has {dim:,} channels; at most {MAX_FEATURE_DIM:,} are allowed: pool it"
        problems.append(Problem("exceeds_limit", detail, f"{pointer}/outputs/features"))
    return problems, None if problems else dim


def _too_large(
    chosen: Mapping[str, Report | None], input_shape: Sequence[int], pointer: str
) -> list[Problem]:
    """Maps with more places than the picture has pixels: nothing that the network saw."""
    return [
        Problem(
            "incompatible",
            f"the map {quote(output['name'])} is {output['shape'][1]} x {output['shape'][2]}; the input is "
            f"{input_shape[1]} x {input_shape[2]}, and no map may be larger",
            f"{pointer}/outputs/{role}",
        )
        for role, output in chosen.items()
        if output is not None
        and any(side > most for side, most in zip(output["shape"][1:], input_shape[1:], strict=True))
    ]


def _not_there(wanted: str, outputs: Sequence[Report], *, by_pixel: bool) -> str:
    needed = "maps [channels, height, width]" if by_pixel else "vectors"
    for output in outputs:
        if output["name"] == wanted:
            shape = "no rows of floats" if output["shape"] is None else f"rows of shape {output['shape']}"
            return f"{quote(wanted)} gives {shape}; {needed} are needed"
    names = ", ".join(quote(output["name"], 30) for output in outputs[:4])
    return f"there is no output {quote(wanted, 40)}; the model has {names}"
