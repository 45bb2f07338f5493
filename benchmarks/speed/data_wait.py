"""How long `fit` waits for data: the whole loop with real batches and augmentation, not a step on its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from variants import CACHED, PLAIN
from workload import Workload

from fdkd_core.spec import FDCMKDSpec
from fdkd_core.training.loop import Hooks, LoopState, StepMetrics, Trainee, fit


@dataclass(frozen=True)
class Wait:
    """One run of `fit`, from the end of its first step to the end of its last."""

    share: float
    """Of wall time, spent waiting for a batch."""
    step_ms: float
    """Wall time of a step, waiting included."""


def fit_actions(workload: Workload) -> dict[str, Callable[[], Wait]]:
    """Runs to repeat. Loading depends on the modality that is trained, so an image student is among them."""
    trainees = {
        PLAIN: workload.trainee("audio"),
        CACHED: workload.trainee("audio", FDCMKDSpec(), workload.cached_outputs()),
        "plain image student": workload.trainee("image"),
    }
    return {name: partial(measure_wait, trainee) for name, trainee in trainees.items()}


def measure_wait(trainee: Trainee) -> Wait:
    """Trains one epoch, of three steps or more.

    The first step is left out: its batch cannot be made ahead, which happens once in a run, however long.
    """
    ended: list[float] = []
    waited: list[float] = []

    def on_metrics(metrics: StepMetrics) -> None:
        ended.append(time.perf_counter())
        waited.append(metrics.wait_s)

    fit(trainee, LoopState(), Hooks(on_metrics, lambda: False, lambda state, must: None))
    wall_s = ended[-1] - ended[0]
    return Wait(sum(waited[1:]) / wall_s, 1000 * wall_s / (len(ended) - 1))
