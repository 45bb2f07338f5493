"""Does FD-CMKD do what its premise promises, where the premise holds by construction, and only there?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import Planted, make_planted

from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.run import run
from fdkd_core.spec import (
    FDCMKDSpec,
    FeatureMSESpec,
    MethodSpec,
    MLPSpec,
    NoneSpec,
    PKDSpec,
    SGDSpec,
    TrainingSpec,
    load_spec,
)
from fdkd_core.spec.result import CompareResult
from fdkd_core.training.evaluation import evaluate_model
from fdkd_core.training.loop import Hooks, LoopState, fit

CPU = torch.device("cpu")
SILENT = Hooks(lambda metrics: None, lambda: False, lambda state, must: None)
LEARNING_RATES = (0.02, 0.1)
WEIGHTS = (3.0, 30.0)

GRIDS: dict[str, list[MethodSpec]] = {
    "none": [NoneSpec()],
    "feature_mse": [FeatureMSESpec(weight=weight) for weight in WEIGHTS],
    # Its gradient is larger: with 3 it is further behind, with 30 it diverges.
    "raw feature_mse": [FeatureMSESpec(weight=weight, normalize=False) for weight in (0.1, 1.0)],
    "pkd": [PKDSpec(weight=weight) for weight in WEIGHTS],
    "fd_cmkd": [FDCMKDSpec(low_weight=weight, high_weight=0.1 * weight) for weight in WEIGHTS],
}
"""Equal budgets: each method has its learning rate and one of two weights chosen, on validation.
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
def test_fd_cmkd_beats_feature_methods_where_only_the_low_band_is_shared() -> None:
    found = {name: tuned_accuracy(name, shared=True) for name in GRIDS}
    decoupled = found.pop("fd_cmkd")
    # Seen when written: 0.61 beside 0.46, 0.48, 0.41 and 0.44, with a spread over seeds of about 0.02.
    assert {name: value for name, value in found.items() if value > decoupled - 0.06} == {}


@pytest.mark.long  # by the verdict of a comparison this is told below
@pytest.mark.slow
def test_it_gains_nothing_where_nothing_is_shared() -> None:
    assert tuned_accuracy("fd_cmkd", shared=False) < tuned_accuracy("none", shared=False) + 0.04


def compared(folder: Path, *methods: MethodSpec, shared: bool) -> CompareResult:
    """What a comparison of three seeds tells a user."""
    spec = {
        "kind": "compare",
        "dataset": "planted",
        "task": {"kind": "classification"},
        "teacher": {"modality": "features", "outputs_from": {"features": "features"}},
        "student": {"modality": "inputs", "architecture": {"name": "mlp", "width": 64, "depth": 2}},
        "methods": [method.model_dump(mode="json") for method in methods],
        "fake_teachers": ["shuffled_pairs"],
        "training": {"epochs": 40, "batch_size": 50, "augment": "none"},
        "tuning": {"trials": 1},
        "export": {"onnx": False, "latency_s": 0.0},
    }
    data = make_planted(0, shared=shared).write(folder / "planted.npz")
    options = RunOptions(device="cpu", threads=1)
    result = run(load_spec(spec), data, folder / "out", options=options)
    assert isinstance(result, CompareResult)
    return result


STRONG = FDCMKDSpec(low_weight=3.0, high_weight=0.3)


@pytest.mark.slow
def test_a_comparison_says_that_it_helps_where_it_does_and_by_what(tmp_path: Path) -> None:
    result = compared(tmp_path, STRONG, FeatureMSESpec(weight=3.0), shared=True)
    assert {arm.label: arm.verdict for arm in result.arms} == {
        "no_teacher": None, "fd_cmkd": "helps", "feature_mse": "no evidence",
        "fd_cmkd shuffled_pairs": "no evidence",
    }  # fmt: skip
    assert result.best == "fd_cmkd"
    assert result.summary[0].startswith("fd_cmkd helps: +")
    assert any(sentence.startswith("It takes the real teacher: ") for sentence in result.summary)


@pytest.mark.slow
def test_a_comparison_claims_no_gain_where_nothing_is_shared(tmp_path: Path) -> None:
    result = compared(tmp_path, STRONG, shared=False)
    assert {arm.label for arm in result.arms if arm.verdict == "helps"} == set()
    assert not any("helps: +" in sentence for sentence in result.summary)
