"""The kind `compare`: several methods and their controls, each tuned with the same budget."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field

from fdkd_core.spec.job import MethodJobSpec, StudentSpec, TeacherSpec, TrainSpec, fitting_methods
from fdkd_core.spec.judging import judged_training
from fdkd_core.spec.methods import FDCMKDSpec, FeatureMSESpec, LogitKDSpec, MethodSpec, NoneSpec
from fdkd_core.spec.strict import Name
from fdkd_core.spec.study import Seeds, StudySpec, TeacherView
from fdkd_core.spec.training import TrainingSpec
from fdkd_core.spec.tuning import TuningSpec

NO_TEACHER = "no_teacher"
"""Label of the control that everything is compared with."""
FakeTeacher = Literal["shuffled_pairs", "permuted_channels", "untrained_teacher"]
METHODS = (LogitKDSpec(), FeatureMSESpec(), FDCMKDSpec())
"""What is compared where nothing is named, as far as it fits the job."""
FAKES: tuple[FakeTeacher, ...] = ("shuffled_pairs", "permuted_channels", "untrained_teacher")
"""Likewise with what."""


def _fitting_methods(known: dict[str, Any]) -> tuple[MethodSpec, ...]:
    """Those of a job that names none, from its other fields, as far as they are valid."""
    task = known.get("task")
    return METHODS if task is None else fitting_methods(METHODS, task, known.get("teacher"))


def _fitting_fakes(known: dict[str, Any]) -> tuple[FakeTeacher, ...]:
    """The same of controls: recorded outputs have no untrained twin, nor logits alone any channels."""
    teacher = known.get("teacher")
    if teacher is None or teacher.outputs_from is None:
        return FAKES
    return FAKES[:1] if teacher.outputs_from.features is None else FAKES[:2]


class CompareSpec(MethodJobSpec):
    """Compare methods with each other and with matched controls: does distillation help here, and which?

    The teacher is trained once. Each method, and each control, is a `study` with the same tuning and the same
    seeds; the same student without a teacher is always among them.
    """

    kind: Literal["compare"]
    name: Name = "comparison"
    methods: Annotated[tuple[MethodSpec, ...], Field(min_length=1, max_length=20)] = Field(
        default_factory=_fitting_methods,
        json_schema_extra={"default": [method.model_dump(mode="json") for method in METHODS]},
    )
    """The method of this project beside one baseline on logits and one on features; where nothing is named,
    those of them that fit the task and what was recorded of the teacher."""
    fake_teachers: tuple[FakeTeacher, ...] = Field(
        default_factory=_fitting_fakes, json_schema_extra={"default": list(FAKES)}
    )
    """Further controls, run with the first method of the list that is FD-CMKD, else with the first that does
    not train its teacher. What still "helps" with shuffled pairs or an untrained teacher does not come from
    what the teacher knows; permuted channels leave it all it knows and tell whether their order matters, and
    are left out for methods to which no order is another: those on logits, and on relations among samples.
    Where nothing is named, so is the untrained twin of recorded outputs, which there is not."""
    tuning: TuningSpec = TuningSpec()
    """The budget of each method and of each control."""
    seeds: Seeds = 3
    """Final runs of each."""

    @property
    def methods_used(self) -> tuple[MethodSpec, ...]:
        """All of the list."""
        return self.methods


def arms(spec: CompareSpec, teacher_model: str | None) -> dict[str, StudySpec]:
    """The studies of a comparison by label, the control `no_teacher` first.

    Args:
        spec: The comparison.
        teacher_model: Reference of the trained teacher, which all of them share; None leaves `teacher` as
            it is.
    """
    teacher = spec.teacher
    if teacher_model is not None:
        teacher = TeacherSpec(
            modality=teacher.modality,
            architecture=teacher.architecture,
            model=teacher_model,
            outputs=teacher.outputs,
        )

    def study(label: str, method: MethodSpec, view: TeacherView = "paired") -> StudySpec:
        return StudySpec(
            kind="study", name=label, dataset=spec.dataset, task=spec.task, teacher=teacher,
            student=spec.student, training=spec.training, method=method, teacher_view=view,
            tuning=spec.tuning, seeds=spec.seeds, pairing=spec.pairing, paired_fraction=spec.paired_fraction,
            export=spec.export, resources=spec.resources,
        )  # fmt: skip

    found = {NO_TEACHER: study(NO_TEACHER, NoneSpec())}
    times: Counter[str] = Counter()
    for method in spec.methods:
        if isinstance(method, NoneSpec):
            continue  # it is there already
        times[method.name] += 1
        label = method.name if times[method.name] == 1 else f"{method.name}#{times[method.name]}"
        found[label] = study(label, method)
    frozen = [m for m in spec.methods if not isinstance(m, NoneSpec) and not m.needs_teacher_inputs]
    faked = next((m for m in frozen if isinstance(m, FDCMKDSpec)), frozen[0] if frozen else None)
    if faked is not None:
        for view in dict.fromkeys(spec.fake_teachers):
            if view == "permuted_channels" and not faked.knows_channel_order:
                continue  # it would be the method itself once more, and taken for a fake that does as well
            label = f"{faked.name} {view}"
            found[label] = study(label, faked, view)
    return found


def teacher_job(spec: CompareSpec) -> TrainSpec | None:
    """The job that trains the teacher of a comparison; None when it, or what it said, is given."""
    if not spec.teacher.is_trained:
        return None
    return TrainSpec(
        kind="train",
        name="teacher",
        dataset=spec.dataset,
        task=spec.task,
        student=StudentSpec(modality=spec.teacher.modality, architecture=spec.teacher.architecture),
        training=teacher_training(spec),
        export=spec.export.model_copy(update={"onnx": False}),  # it teaches the arms, nobody serves it
        resources=spec.resources,
    )


def teacher_training(spec: CompareSpec) -> TrainingSpec:
    """How the teacher of a comparison is trained, with the comparison's seed.

    The seed also cuts the validation rows where the data have no validation split. With one of its own the
    teacher would learn from rows that the students are judged on.
    """
    training = judged_training(spec.teacher.train or TrainingSpec(), spec.task)
    return training.model_copy(update={"seed": spec.training.seed})
