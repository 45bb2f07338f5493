"""One training in memory, without a job around it."""

from __future__ import annotations

import torch

from fdkd_core.data.table import PairedDataset
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.spec import ArchitectureSpec, MethodSpec, TrainingSpec
from fdkd_core.spec.result import SplitMetrics
from fdkd_core.training.evaluation import evaluate_model
from fdkd_core.training.loop import Hooks, LoopState, Trainee, fit

CPU = torch.device("cpu")
SILENT = Hooks(lambda metrics: None, lambda: False, lambda state, must: None)


def train(
    data: PairedDataset,
    modality: str,
    architecture: ArchitectureSpec,
    training: TrainingSpec,
    method: MethodSpec,
    teacher_outputs: ModelOutput | None,
) -> tuple[Trainee, SplitMetrics]:
    """Trains one model; returns it with its best weights, and its validation figures."""
    phase = Phase(
        "student", modality, architecture, "/student/architecture", training, method, teacher_outputs
    )
    trainee = make_trainee(phase, data, CPU)
    state = fit(trainee, LoopState(), SILENT)
    trainee.model.load_state_dict(state.best_weights)
    return trainee, evaluate_model(trainee.model, data, modality, "val", CPU)[0]
