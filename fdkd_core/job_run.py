"""A run that has passed every check: what each kind of job works with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from fdkd_core.data.table import PairedDataset
from fdkd_core.data.unlabelled import answered
from fdkd_core.errors import IncompatibleError, Problem, TrainingDivergedError
from fdkd_core.events import EventLog
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, Trained, run_phase
from fdkd_core.preparation import make_phase, teacher_training, training_of
from fdkd_core.spec import AnyJobSpec, MethodJobSpec, NoneSpec, TeachingSpec, teacher_name
from fdkd_core.spec.execution import ExecutionReport
from fdkd_core.spec.job import teacher_pointer
from fdkd_core.spec.phase_words import teacher_words
from fdkd_core.starting_weights import StartingWeights
from fdkd_core.tasks import task_of
from fdkd_core.teacher_cache import SharedOutputs, TeacherCache
from fdkd_core.teacher_views import TeacherRows, scattered, view_rows
from fdkd_core.workspace import Workspace

if TYPE_CHECKING:
    from fdkd_core.ranks.crew_process import Crew

Fake = Callable[[ModelOutput], ModelOutput]
"""Such as `teacher_views.shuffled` with a seed."""


@dataclass(frozen=True)
class JobRun:
    """Everything that `fdkd_core.run` has prepared."""

    spec: AnyJobSpec
    """With its open choices filled in."""
    data: PairedDataset
    given: Backbone | None
    """The teacher that the spec names, loaded; None when the job trains one or has none."""
    workspace: Workspace
    log: EventLog
    should_stop: Callable[[], bool]
    device: torch.device
    threads: int
    options: RunOptions
    identity: dict[str, Any]
    """Hashes of spec, data and given teacher: what the folder and its checkpoints are bound to."""
    started: float
    """On the monotonic clock."""
    more_given: tuple[Backbone | None, ...] = ()
    """The same as `given` for each further teacher."""
    start: StartingWeights | None = None
    """What the student begins with; None draws its weights."""
    phase_prefix: str = ""
    """Before the names of phases, where a job is a part of another."""
    crew: Crew | None = None
    """Other processes that train with this one."""
    executions: dict[str, ExecutionReport] = field(default_factory=dict)
    """How trainings of the job are computed, as far as it was found out."""
    shared: SharedOutputs | None = None
    """Where many parts of a job ask its teacher; None where one does, who may let go of what it was told."""

    @property
    def processes(self) -> int:
        """That train each model together."""
        return 1 if self.crew is None else self.crew.size

    def run_phase(self, phase: Phase, steps_before: int) -> tuple[Trained, int]:
        """Trains one model, or goes on with it; see `phases.run_phase`."""
        phase = replace(phase, name=self.phase_prefix + phase.name)
        try:
            return run_phase(
                phase,
                self.data,
                checkpoints=self.workspace.checkpoints(phase.name),
                key=hashlib.sha256(repr(sorted(self.identity.items())).encode()).hexdigest(),
                log=self.log,
                should_stop=self.should_stop,
                device=self.device,
                steps_before=steps_before,
                secret=self.options.checkpoint_secret,
                crew=self.crew,
                executions=self.executions,
            )
        except TrainingDivergedError as error:
            if isinstance(phase.method, NoneSpec):
                raise error.inside(lower="training.optimizer.lr") from None
            raise

    def teacher(self, index: int = 0, *, steps_before: int = 0) -> tuple[Trained, int]:
        """A frozen teacher, given or trained now, and how many steps that took.

        Args:
            index: Which of the spec's `teachers`.
            steps_before: Steps of the phases before this one.
        """
        assert isinstance(self.spec, TeachingSpec)
        spec, given = self.spec.teachers[index], (self.given, *self.more_given)[index]
        steps = 0
        if given is None:
            training = training_of(spec, self.spec.task) if index else teacher_training(self.spec)
            phase = make_phase(teacher_name(index), spec, training)
            try:
                teacher, steps = self.run_phase(phase, steps_before)
            except TrainingDivergedError as error:
                where = f"in the training of {teacher_words(teacher_name(index))}, "
                rate = teacher_pointer(index)[1:].replace("/", ".") + ".train.optimizer.lr"
                raise error.inside(where, lower=rate) from None
        else:
            given.to(self.device).eval()
            teacher = Trained(spec.modality, spec.architecture, given, 0, 0, 0.0)
        teacher.model.requires_grad_(False)
        return teacher, steps

    def warn(self, text: str) -> None:
        """Tells the user something that is no reason to stop."""
        self.log.emit("warning", message=text)

    def teacher_rows(self, teacher: Trained, *, fake: Fake | None = None) -> TeacherRows:
        """What each taught row is taught with, by the pairing that the spec asks for.

        Args:
            teacher: Frozen.
            fake: Changes its outputs first, for a control.

        Raises:
            IncompatibleError: A teacher that was given answers a row with numbers that are not finite.
        """
        spec, rows = self.spec, self.data.taught_rows
        assert isinstance(spec, MethodJobSpec)
        recorded = teacher.model if isinstance(teacher.model, RecordedTeacher) else None
        known = self.data.modalities[teacher.modality] if recorded is None else recorded
        present = torch.from_numpy(known.has(rows))
        cache = TeacherCache(
            self.options.teacher_cache_dir,
            max_bytes=self.options.teacher_cache_bytes,
            secret=self.options.checkpoint_secret,
            warn=self.warn,
        )
        if recorded is not None:
            outputs = recorded.outputs(rows[present.numpy()])  # no further away than a cache would be
        else:

            def find() -> ModelOutput:
                return cache.outputs(teacher, self.data, self.device)

            if self.shared is None:
                outputs = find()
            else:
                outputs = self.shared.outputs(teacher, self.data, find, is_faked=fake is not None)
        if not teacher.epochs:
            _refuse_not_finite(outputs)
        outputs = scattered(outputs if fake is None else fake(outputs), present)
        data, answers = self.data, None
        if len(data.unlabelled):
            answers = task_of(data).answered(outputs.logits)
            data = answered(data, answers)
        return view_rows(
            outputs,
            torch.from_numpy(data.strata[rows]),
            len(data.classes),
            pairing=spec.pairing,
            paired_fraction=spec.paired_fraction,
            seed=spec.training.seed,
            present=None if bool(present.all()) else present,
        )._replace(answers=answers)


def _refuse_not_finite(outputs: ModelOutput) -> None:
    """Before anything learns from them: what it came to would look like a rate that is too high."""
    is_bad_N = torch.stack([~part.flatten(1).isfinite().all(dim=1) for part in outputs]).any(dim=0)
    if number := int(is_bad_N.sum()):
        detail = f"answers {number} of {len(is_bad_N)} training rows with numbers that are not finite"
        raise IncompatibleError(Problem("incompatible", f"the given teacher {detail}", "/teacher"))
