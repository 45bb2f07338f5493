"""Does FD-CMKD do what its premise promises, where the premise holds by construction, and only there?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import Planted, make_planted

from fdkd_core.phases import Phase, evaluate_model, make_trainee
from fdkd_core.spec import FDCMKDSpec, FeatureMSESpec, MethodSpec, MLPSpec, NoneSpec, SGDSpec, TrainingSpec
from fdkd_core.training.loop import Hooks, LoopState, fit

CPU = torch.device("cpu")
SILENT = Hooks(lambda metrics: None, lambda: False, lambda state, must: None)
LEARNING_RATES = (0.02, 0.1)
WEIGHTS = (3.0, 30.0)

GRIDS: dict[str, list[MethodSpec]] = {
    "none": [NoneSpec()],
    "feature_mse": [FeatureMSESpec(weight=weight) for weight in WEIGHTS],
    "fd_cmkd": [FDCMKDSpec(low_weight=weight, high_weight=0.1 * weight) for weight in WEIGHTS],
}
"""Equal budgets: each method has its learning rate and weight chosen among the same values, on validation.
The control has no weight to choose, so it tries the learning rates with two seeds."""


def train_once(planted: Planted, method: MethodSpec, lr: float, seed: int) -> tuple[float, float]:
    """Validation and test accuracy."""
    training = TrainingSpec(epochs=40, batch_size=50, optimizer=SGDSpec(lr=lr), augment="none", seed=seed)
    outputs = None if isinstance(method, NoneSpec) else planted.teacher_outputs
    phase = Phase(
        "student", "inputs", MLPSpec(width=64, depth=2), "/student/architecture", training, method, outputs
    )
    trainee = make_trainee(phase, planted.data, CPU)
    state = fit(trainee, LoopState(), SILENT)
    trainee.model.load_state_dict(state.best_weights)
    test, _ = evaluate_model(trainee.model, planted.data, "inputs", "test", CPU)
    return state.best_value, test.accuracy


def tuned_accuracy(name: str, *, shared: bool) -> float:
    """Mean test accuracy over seeds, each tuned on its own validation split."""
    found = []
    for seed in range(2):
        planted = make_planted(seed, shared=shared)
        trials = [
            train_once(planted, method, lr, trial_seed)
            for method in GRIDS[name]
            for lr in LEARNING_RATES
            for trial_seed in ((seed, seed + 100) if name == "none" else (seed,))
        ]
        found.append(max(trials)[1])
    return float(np.mean(found))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
def test_fd_cmkd_beats_feature_mse_where_only_the_low_band_is_shared() -> None:
    control = tuned_accuracy("none", shared=True)
    feature = tuned_accuracy("feature_mse", shared=True)
    decoupled = tuned_accuracy("fd_cmkd", shared=True)
    # Seen when written: 0.45, 0.47, 0.61, with a spread over seeds of about 0.02.
    assert decoupled > feature + 0.06
    assert decoupled > control + 0.06


@pytest.mark.long
@pytest.mark.slow
def test_no_gain_is_claimed_where_nothing_is_shared() -> None:
    assert tuned_accuracy("fd_cmkd", shared=False) < tuned_accuracy("none", shared=False) + 0.04
