"""A run that has passed every check: what each kind of job works with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fdkd_core.data.table import PairedDataset
from fdkd_core.events import EventLog
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, Trained, run_phase
from fdkd_core.preparation import make_phase, teacher_training
from fdkd_core.spec import AnyJobSpec, MethodJobSpec, TeachingSpec
from fdkd_core.teacher_views import TeacherRows, scattered, view_rows
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.workspace import Workspace

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

    def run_phase(self, phase: Phase, steps_before: int) -> tuple[Trained, int]:
        """Trains one model, or goes on with it; see `phases.run_phase`."""
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
        )

    def teacher(self) -> tuple[Trained, int]:
        """The frozen teacher, given or trained now, and how many steps that took."""
        spec = self.spec
        assert isinstance(spec, TeachingSpec)
        steps = 0
        if self.given is None:
            teacher, steps = self.run_phase(make_phase("teacher", spec.teacher, teacher_training(spec)), 0)
        else:
            self.given.to(self.device).eval()
            teacher = Trained(spec.teacher.modality, spec.teacher.architecture, self.given, 0, 0, 0.0)
        teacher.model.requires_grad_(False)
        return teacher, steps

    def teacher_rows(self, teacher: Trained, *, fake: Fake | None = None) -> TeacherRows:
        """What each training row is taught with, by the pairing that the spec asks for.

        Args:
            teacher: Frozen.
            fake: Changes its outputs first, for a control.
        """
        spec, rows = self.spec, self.data.splits["train"]
        assert isinstance(spec, MethodJobSpec)
        modality = self.data.modalities[teacher.modality]
        present = torch.from_numpy(modality.has(rows))
        outputs = predict_rows(teacher.model, modality, rows[modality.has(rows)], self.device)
        return view_rows(
            scattered(outputs if fake is None else fake(outputs), present),
            torch.from_numpy(self.data.labels[rows]),
            len(self.data.classes),
            pairing=spec.pairing,
            paired_fraction=spec.paired_fraction,
            seed=spec.training.seed,
            present=None if bool(present.all()) else present,
        )
