"""What jobs are made of, and the two kinds that make one model: `DistillSpec` and `TrainSpec`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.catalogue import method_problems, task_problems
from fdkd_core.spec.export import ExportSpec
from fdkd_core.spec.gates import GateSpec
from fdkd_core.spec.judging import judged_gate, judged_training
from fdkd_core.spec.methods import AutoSpec, FDCMKDSpec, MethodChoice, MethodSpec, NoneSpec
from fdkd_core.spec.methods.base import Weight
from fdkd_core.spec.onnx_outputs import TeacherOutputsSpec
from fdkd_core.spec.output_columns import OutputColumnsSpec
from fdkd_core.spec.resources import ResourcesSpec
from fdkd_core.spec.strict import Key, Name, StrictModel
from fdkd_core.spec.tasks import TaskSpec
from fdkd_core.spec.training import TrainingSpec

SCHEMA_VERSION = 1

Reference = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f\\/~.-][^\x00-\x1f\x7f\\]{0,254}$")]
"""Names a model: a path below the spec's folder for the command line, an id or the owner's name for the
service. Resolved by whoever runs the job."""


def _modality_may_be_left_out(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema.get("required", ()) if name != "modality"]
    if not schema["required"]:
        del schema["required"]


def _without_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_lists(entry) for name, entry in value.items()}
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value


class TeacherSpec(StrictModel):
    """The frozen model that teaches: trained by this job, given as `model`, or known by its outputs alone."""

    model_config = ConfigDict(json_schema_extra=_modality_may_be_left_out)

    modality: Key
    """Column of the dataset that the teacher sees. Left out with `outputs_from`, whose first column it is."""
    architecture: ArchitectureSpec | None = None
    """Null: the default for the modality's kind; for a `model`, the bundle's own or what the weights were
    uploaded with."""
    train: TrainingSpec | None = None
    """How to train it; null takes every default. Not with `model`."""
    model: Reference | None = None
    """An existing model instead of training one: a student bundle, a Hugging Face folder, safetensors (a
    local file needs `architecture`; an uploaded one has its own), or an ONNX file, which gets the column as
    this dataset's own preprocessing makes it."""
    outputs: TeacherOutputsSpec | None = None
    """Which outputs of an ONNX file are logits and features; null finds them. Only with such a `model`."""
    outputs_from: OutputColumnsSpec | None = None
    """Columns with what the teacher said of each row, for one that cannot be shipped; instead of all else."""

    @model_validator(mode="before")
    @classmethod
    def _modality_of_outputs(cls, fields: Any) -> Any:
        """Where the outputs are given, they are what there is to look at."""
        # What passes here is validated as Python afterwards, where a list is no tuple, whatever it came from.
        fields = _without_lists(fields)
        if not isinstance(fields, dict) or "modality" in fields or fields.get("outputs_from") is None:
            return fields
        try:
            first = OutputColumnsSpec.model_validate(fields["outputs_from"]).columns[0]
        except ValidationError:
            first = "unknown"  # said once, of the columns
        return {**fields, "modality": first}

    @model_validator(mode="after")
    def _given_or_trained(self) -> Self:
        if self.model is not None and self.train is not None:
            raise PydanticCustomError(
                "conflicting_fields", "has both `model` and `train`; give the one or train the other", {}
            )
        if self.outputs is not None and self.model is None:
            raise PydanticCustomError(
                "conflicting_fields", "has `outputs` without `model`; they are those of an ONNX file", {}
            )
        if self.outputs_from is not None:
            others = {"model": self.model, "train": self.train, "architecture": self.architecture}
            found = [f"`{name}`" for name, value in others.items() if value is not None]
            if self.modality != self.outputs_from.columns[0]:
                found.append("`modality`")
            if found:
                message = "has `outputs_from` and {others}; what is recorded needs no model"
                raise PydanticCustomError("conflicting_fields", message, {"others": ", ".join(found)})
        return self

    @property
    def is_trained(self) -> bool:
        """Whether the job trains it."""
        return self.model is None and self.outputs_from is None

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the dataset, all that the teacher needs."""
        return (self.modality,) if self.outputs_from is None else self.outputs_from.columns


class FurtherTeacherSpec(TeacherSpec):
    """A teacher beside the first, of the same or of another modality."""

    weight: Weight = 1.0
    """Factor of all it teaches, where the first teacher's is 1."""


def teacher_pointer(index: int) -> str:
    """Where a teacher stands in a spec, by its place among all of them."""
    return f"/more_teachers/{index - 1}" if index else "/teacher"


def teacher_name(index: int) -> str:
    """What phase, bundle and terms of a teacher are called: `teacher`, `teacher2`, ..."""
    return f"teacher{index + 1}" if index else "teacher"


class StudentSpec(StrictModel):
    """The model that learns and is handed over."""

    modality: Key
    """Column of the dataset that the student sees, and the only input it needs afterwards."""
    architecture: ArchitectureSpec | None = None
    """Null: the default for the modality's kind, or the network of `start`. Beside a `start` only what no
    weight depends on may differ: stride and dropout of `mobilenet_v2_deeplab` on a `mobilenet_v2`."""
    start: Reference | None = None
    """Weights to begin with instead of random ones, in `train` and `distill` jobs: a bundle or a Hugging Face
    folder, by whose preprocessing the column is then read. The last layer is drawn anew unless its classes
    are the data's; of a segmentation the whole head, where the model is a `mobilenet_v2` or SegFormer's
    encoder. The control begins with the same. Null: weights from elsewhere are a choice to make."""


class ControlsSpec(StrictModel):
    """Matched runs that tell whether distillation helped."""

    no_teacher: bool = True
    """Train the same student with the same budget and seed from the labels alone. On, at the cost of a
    second training: without it nobody knows whether the teacher helped."""


Teacher = TypeVar("Teacher", bound=TeacherSpec)
AnyMethod = TypeVar("AnyMethod", bound=MethodSpec)

_ANY_WIDTH = 2
"""Of a recorded feature, whose width only the data tell: no method that is tried by default needs more."""


def fitting_methods(
    methods: tuple[AnyMethod, ...], task: TaskSpec, teacher: TeacherSpec | None
) -> tuple[AnyMethod, ...]:
    """Of methods that nobody named, those for the task and for what was recorded of a teacher.

    Args:
        methods: To choose from.
        task: Of the job.
        teacher: Null where it is not valid, which is said of it.
    """
    found = tuple(method for method in methods if not task_problems(method, task))
    recorded = None if teacher is None else teacher.outputs_from
    if recorded is None:
        return found
    width, gives_logits = 0 if recorded.features is None else _ANY_WIDTH, recorded.logits is not None
    return tuple(method for method in found if not method_problems(method, width, gives_logits=gives_logits))


def _judged_teacher(teacher: Teacher, task: TaskSpec | None, at: tuple[str | int, ...] = ()) -> Teacher:
    """The teacher with the figure filled in that its training is judged by, where it has one."""
    if task is None or teacher.train is None:
        return teacher
    training = judged_training(teacher.train, task, at=(*at, "train"))
    return teacher.model_copy(update={"train": training})


class TeachingSpec(StrictModel):
    """Base of every job in which a model of one modality teaches a model of another."""

    schema_version: Literal[1] = 1
    name: Name = "distillation"
    dataset: Name
    """What the data is called; the data itself is given beside the spec."""
    task: TaskSpec
    teacher: TeacherSpec
    student: StudentSpec
    training: TrainingSpec = Field(default=TrainingSpec(), validate_default=True)
    """How the student, and its control, are trained."""

    @field_validator("training")
    @classmethod
    def _is_judged_by_its_task(cls, training: TrainingSpec, info: ValidationInfo) -> TrainingSpec:
        task = info.data.get("task")
        return training if task is None else judged_training(training, task)

    @field_validator("teacher")
    @classmethod
    def _teacher_is_too(cls, teacher: TeacherSpec, info: ValidationInfo) -> TeacherSpec:
        return _judged_teacher(teacher, info.data.get("task"))

    @property
    def methods_used(self) -> tuple[MethodSpec, ...]:
        """Every method that the job may run, in the order of the spec."""
        return ()

    @property
    def teachers(self) -> tuple[TeacherSpec, ...]:
        """All of them, the first one first."""
        return (self.teacher,)


class MethodJobSpec(TeachingSpec):
    """Base of the jobs that train students by a method."""

    pairing: Literal["instance", "class"] = "instance"
    """What a training row is taught with. `instance`: the teacher's outputs for the same sample, for data
    recorded together. `class`: their means over the paired rows of its class, for data that is paired by its
    labels only, where the outputs for one sample say nothing about another."""
    paired_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training rows that keep their teacher's view, the same of every class and at least one of
    each, chosen by `training.seed`; all that have one by default. The others train the task loss alone with
    `instance`; with `class` they are taught the means too, which come from the paired rows only."""
    export: ExportSpec = ExportSpec()
    """What is made of the student for serving, and measured."""
    resources: ResourcesSpec = ResourcesSpec()
    """What the job asks of the machine."""


class DistillSpec(MethodJobSpec):
    """Train a student of one modality with a teacher of another."""

    kind: Literal["distill"]
    method: MethodChoice = FDCMKDSpec()
    """FD-CMKD, which this project is about; the control shows whether it pays on your data. `auto` finds out
    what does, and always trains the control."""
    more_teachers: Annotated[tuple[FurtherTeacherSpec, ...], Field(max_length=3)] = ()
    """Teachers beside `teacher`; each is taught from by the same method, with parameters of its own."""
    teacher_weighting: Literal["fixed", "confidence"] = "fixed"
    """How several teachers share a sample. `fixed`: by their weights alone. `confidence`: those are
    multiplied by the softmax over teachers of minus their task loss on the sample's label, scaled to a
    mean of 1, so that the student listens to whoever is right about it (after CA-MKD, Zhang et al. 2022).
    Fixed, because teachers are often surest of the rows they were trained on."""
    controls: ControlsSpec = ControlsSpec()
    gates: Annotated[tuple[GateSpec, ...], Field(max_length=8)] = ()
    """What the student must show against its control to be handed over, or without a warning. None by
    default: the control is reported either way."""

    @field_validator("method")
    @classmethod
    def _tries_what_fits(cls, method: MethodChoice, info: ValidationInfo) -> MethodChoice:
        """Methods that nobody named are those that suit the task, and a teacher of which all is recorded."""
        task, teacher = info.data.get("task"), info.data.get("teacher")
        if task is None or not isinstance(method, AutoSpec) or "methods" in method.model_fields_set:
            return method
        fitting = fitting_methods(method.methods, task, teacher)
        fitted = method.model_copy(update={"methods": fitting})
        fitted.model_fields_set.discard("methods")  # nobody has named them now either
        return fitted

    @field_validator("gates")
    @classmethod
    def _have_a_control(cls, gates: tuple[GateSpec, ...], info: ValidationInfo) -> tuple[GateSpec, ...]:
        controls, method = info.data.get("controls"), info.data.get("method")
        always = isinstance(method, AutoSpec)  # it trains the control to have something to search beside
        if gates and controls is not None and not controls.no_teacher and not always:
            raise PydanticCustomError(
                "conflicting_fields", "need the control that `controls.no_teacher` switches off", {}
            )
        if gates and isinstance(method, NoneSpec):
            raise PydanticCustomError(
                "conflicting_fields", "need a method: without one the student is its own control", {}
            )
        task = info.data.get("task")
        return gates if task is None else tuple(judged_gate(gate, task, i) for i, gate in enumerate(gates))

    @field_validator("more_teachers")
    @classmethod
    def _have_a_method(
        cls, teachers: tuple[FurtherTeacherSpec, ...], info: ValidationInfo
    ) -> tuple[FurtherTeacherSpec, ...]:
        if teachers and isinstance(info.data.get("method"), NoneSpec):
            raise PydanticCustomError("conflicting_fields", "need a method to be taught by", {})
        if teachers and isinstance(info.data.get("method"), AutoSpec):
            raise PydanticCustomError(
                "conflicting_fields", "are not searched over: name the method, or leave them out", {}
            )
        return tuple(_judged_teacher(found, info.data.get("task"), (i,)) for i, found in enumerate(teachers))

    @property
    def methods_used(self) -> tuple[MethodSpec, ...]:
        """The one method, or those that are tried."""
        return self.method.methods if isinstance(self.method, AutoSpec) else (self.method,)

    @property
    def teachers(self) -> tuple[TeacherSpec, ...]:
        """All of them, the first one first."""
        return (self.teacher, *self.more_teachers)


class TrainSpec(StrictModel):
    """Train one model of one modality, without a teacher."""

    schema_version: Literal[1] = 1
    kind: Literal["train"]
    name: Name = "training"
    dataset: Name
    """What the data is called; the data itself is given beside the spec."""
    task: TaskSpec
    student: StudentSpec
    training: TrainingSpec = Field(default=TrainingSpec(), validate_default=True)
    """How it is trained."""
    export: ExportSpec = ExportSpec()
    """What is made of it for serving, and measured."""
    resources: ResourcesSpec = ResourcesSpec()
    """What the job asks of the machine."""

    @field_validator("training")
    @classmethod
    def _is_judged_by_its_task(cls, training: TrainingSpec, info: ValidationInfo) -> TrainingSpec:
        task = info.data.get("task")
        return training if task is None else judged_training(training, task)
