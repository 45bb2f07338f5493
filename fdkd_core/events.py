"""What a run says while it works: JSON objects, one a line, the same for the log, the pipe and the terminal.

| event | fields |
|---|---|
| `run_started` | name, kind, spec_sha256, data_sha256, device, threads, processes, phases |
| `data_loaded` | report (the data report) |
| `arm_started` | arm (how the names of its phases begin), label, number, total |
| `phase_started` | phase, step, total_steps, resumed, execution (how steps are computed, and why) |
| `step` | phase, step, total_steps, job_step, epoch, lr, loss, terms, weighted, gradient_norms, speed, wait |
| `epoch` | phase, epoch, step, the figures of the task, loss, best_epoch |
| `checkpoint` | phase, step |
| `phase_finished` | phase, epochs, best_epoch, stopped_early, seconds |
| `warning` | message |
| `run_finished` | result (as in result.json) |
| `run_failed` | code, message, problems |

Phases have names of at most 16 characters: `teacher`, `student`, `control`; `trial-N` and `seed-N` in a
study, after `armK-` in a comparison; `rungR-N` and `finalF-N` in a job that chooses its method; `finalise`
for what comes after training. `phases` holds the name and `total_steps` of each; `job_step` counts over all
of them. Losses of a `step` event are means over the steps since the last one, of which there are about
`STEP_EVENTS_PER_EPOCH` an epoch;
speed is `samples_per_s`, and wait is `wait_frac`, the share of time spent waiting for data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdkd_core.atomic_files import storage_errors

if TYPE_CHECKING:
    from fdkd_core.training.loop import StepMetrics

STEP_EVENTS_PER_EPOCH = 4
"""Enough for a curve; writing each step of a small model would cost more than the step."""

Event = dict[str, Any]
EventSink = Callable[[Event], None]


class EventLog:
    """Appends every event to `events.jsonl` and passes it on.

    A resumed run repeats the steps after its checkpoint, so readers keep the last line of each (phase, step).
    """

    def __init__(self, path: Path, sink: EventSink) -> None:
        self._path = path
        self._sink = sink

    def emit(self, event: str, **fields: Any) -> None:
        """Writes one event with its time (Unix seconds).

        Raises:
            StorageError: The disk is full or failing.
        """
        record = {"event": event, "time": round(time.time(), 3), **fields}
        with storage_errors(), self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record, sort_keys=True) + "\n")
        self._sink(record)


class StepAverages:
    """Gathers step metrics of one phase and emits their means a few times an epoch."""

    def __init__(
        self, log: EventLog, phase: str, *, steps_per_epoch: int, total_steps: int, before: int
    ) -> None:
        self._log = log
        self._phase = phase
        self._steps_per_epoch = steps_per_epoch
        self._total_steps = total_steps
        self._before = before
        self._every = max(1, steps_per_epoch // STEP_EVENTS_PER_EPOCH)
        self._gathered: list[StepMetrics] = []
        self._since = time.monotonic()

    def add(self, metrics: StepMetrics) -> None:
        """Takes one step; emits when enough have gathered or the epoch ends."""
        self._gathered.append(metrics)
        if metrics.step % self._every and metrics.step % self._steps_per_epoch:
            return
        elapsed = time.monotonic() - self._since
        gathered, self._gathered, self._since = self._gathered, [], time.monotonic()
        self._log.emit(
            "step",
            phase=self._phase,
            step=metrics.step,
            total_steps=self._total_steps,
            job_step=self._before + metrics.step,
            epoch=metrics.epoch,
            lr=metrics.lr,
            loss=_mean([m.loss for m in gathered]),
            terms=_means([m.terms for m in gathered]),
            weighted=_means([m.weighted for m in gathered]),
            gradient_norms=metrics.gradient_norms,
            samples_per_s=sum(m.num_samples for m in gathered) / max(elapsed, 1e-9),
            wait_frac=sum(m.wait_s for m in gathered) / max(elapsed, 1e-9),
        )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _means(records: list[dict[str, float]]) -> dict[str, float]:
    return {name: _mean([record[name] for record in records]) for name in records[0]}
