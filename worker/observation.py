"""What a trainer has said so far: progress, curves, history, log lines, until it is written down."""

from __future__ import annotations

import json
import math
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fdkd_core.spec.measures import MEASURES
from worker.trainer import READY

MAX_LOG_LINES = 10_000
"""Per job, over all attempts."""
MAX_LOG_CHARACTERS = 2_000
MAX_WARNINGS = 100
"""Events of one attempt that only warn."""
LAST_LINES = 20
"""Of standard error, for the message of a crash."""
SPEED_WINDOW = 20
"""Step events from which the remaining time is estimated."""

MetricKey = tuple[str, str, int]
"""Phase, kind, step."""


@dataclass
class News:
    """What is to be written since the last time."""

    progress: dict[str, Any] | None = None
    metrics: dict[MetricKey, dict[str, Any]] = field(default_factory=dict)
    """Values are columns of `JobMetric`; the last one said of a step wins."""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.progress or self.metrics or self.events or self.lines)


class Observation:
    """Gathers from the threads that read a trainer's output; asked by those that watch it.

    Args:
        progress: As the attempt before left it.
    """

    def __init__(self, progress: dict[str, Any] | None = None) -> None:
        self._lock = threading.Lock()
        self._news = News()
        self.log_room = MAX_LOG_LINES
        """Log lines that the job may still have."""
        self._warnings = 0
        self._progress: dict[str, Any] = {"step": 0, "total_steps": 0, "epoch": 0, **(progress or {})}
        self._totals: dict[str, int] = {}
        self._speed: deque[tuple[float, int]] = deque(maxlen=SPEED_WINDOW)
        self._intervals: deque[float] = deque(maxlen=50)
        self.is_ready = False
        """Whether the trainer has begun on the job: what goes wrong before is the worker's fault."""
        self.phase = "preparing"
        self.has_steps = False
        """Whether a step of the present phase was heard of."""
        self.job_step = 0
        self.last_event: dict[str, Any] = {}
        self.last_heard = time.monotonic()
        """Of a sign of progress."""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def begin(self) -> None:
        """A trainer is about to start."""
        with self._lock:
            self.is_ready, self.phase, self.has_steps, self.job_step = False, "preparing", False, 0
            self.last_event, self.last_heard = {}, time.monotonic()
            self.last_lines.clear()

    @property
    def median_interval_s(self) -> float:
        """Median time between two step events; 0 before there are two."""
        with self._lock:
            return statistics.median(self._intervals) if self._intervals else 0.0

    def take(self) -> News:
        """What is new since the last call."""
        with self._lock:
            news, self._news = self._news, News()
            return news

    def set_phase(self, phase: str) -> None:
        """Notes what the worker itself is doing for the job."""
        with self._lock:
            self.phase = phase
            self._set_progress()

    def add_event(self, kind: str, **data: Any) -> None:
        """Notes something for the job's history."""
        with self._lock:
            self._news.events.append((kind, data))

    def add_line(self, raw: bytes) -> None:
        """Takes in a line of standard error."""
        # PostgreSQL takes no NUL.
        line = raw.decode("utf-8", "replace").replace("\0", "\ufffd")[:MAX_LOG_CHARACTERS]
        if not line.strip():
            return
        with self._lock:
            self.last_lines.append(line)
            if self.log_room > 1:
                self._news.lines.append(line)
            elif self.log_room == 1:
                self._news.lines.append(f"(a job keeps {MAX_LOG_LINES} lines; what follows is not kept)")
            self.log_room -= 1

    def hear(self, raw: bytes) -> None:
        """Takes in an event of the core (`fdkd_core.events`); what is not one is ignored."""
        try:
            # NaN and infinity are no JSON, and no database takes them.
            event = json.loads(raw, parse_constant=lambda name: None)
            kind = event["event"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        handler = getattr(self, f"_hear_{kind}", None) if isinstance(kind, str) else None
        with self._lock:
            self.last_event = event
            self.last_heard = time.monotonic()
            if handler is not None:
                try:
                    handler(event)
                except (KeyError, TypeError, AttributeError, ValueError):
                    return

    def _hear_trainer_ready(self, event: dict[str, Any]) -> None:
        assert event["event"] == READY
        self.is_ready = True

    def _hear_run_started(self, event: dict[str, Any]) -> None:
        self._totals = {str(phase["name"]): int(phase["total_steps"]) for phase in event["phases"]}

    def _hear_phase_started(self, event: dict[str, Any]) -> None:
        phase, step = str(event["phase"]), int(event["step"])
        self.phase, self.has_steps = phase, False
        self._speed.clear()
        data = {"phase": phase, "step": step, "total_steps": int(event["total_steps"])}
        self._news.events.append(("job.phase_started", {**data, "resumed": bool(event["resumed"])}))
        if event["resumed"]:
            self._news.events.append(("job.resumed", {"phase": phase, "step": step}))
        self.job_step = sum(self._totals.values())
        if phase in self._totals:
            before = list(self._totals).index(phase)
            self.job_step = sum(list(self._totals.values())[:before]) + step
        self._set_progress()

    def _hear_step(self, event: dict[str, Any]) -> None:
        now, self.job_step = time.monotonic(), int(event["job_step"])
        if self._speed:
            self._intervals.append(now - self._speed[-1][0])
        self._speed.append((now, self.job_step))
        self.has_steps = True
        names = ("loss", "terms", "weighted", "lr", "gradient_norms", "samples_per_s", "wait_frac")
        self._add_metric(event, "step", names)
        self._set_progress(epoch=int(event["epoch"]), eta_s=self._remaining_s())

    def _hear_epoch(self, event: dict[str, Any]) -> None:
        self._add_metric(event, "epoch", (*MEASURES, "best_epoch"))

    def _hear_checkpoint(self, event: dict[str, Any]) -> None:
        data = {"phase": str(event["phase"]), "step": int(event["step"])}
        self._news.events.append(("job.checkpoint", data))

    def _hear_phase_finished(self, event: dict[str, Any]) -> None:
        # What follows (the teacher's view of all rows, tests, the export) takes no steps.
        self.has_steps = False
        data = {name: event[name] for name in ("phase", "epochs", "best_epoch", "stopped_early", "seconds")}
        self._news.events.append(("job.phase_finished", data))

    def _hear_warning(self, event: dict[str, Any]) -> None:
        self._warnings += 1
        if self._warnings <= MAX_WARNINGS:
            message = str(event["message"]).replace("\0", "\ufffd")[:MAX_LOG_CHARACTERS]
            self._news.events.append(("job.warning", {"message": message}))

    def _add_metric(self, event: dict[str, Any], kind: str, names: tuple[str, ...]) -> None:
        phase, step = str(event["phase"]), int(event["step"])
        figures = {name: event[name] for name in names if event.get(name) is not None}
        self._news.metrics[phase, kind, step] = {"epoch": int(event["epoch"]), "figures": figures}

    def _set_progress(self, **changes: Any) -> None:
        if self._totals:
            changes |= {"step": self.job_step, "total_steps": sum(self._totals.values())}
        self._progress = {**self._progress, "phase": self.phase, "eta_s": None, **changes}
        self._news.progress = self._progress

    def _remaining_s(self) -> float | None:
        """At the speed of the last steps; the phases that follow are taken to be as fast."""
        (since, first), (now, last) = self._speed[0], self._speed[-1]
        if last <= first or not math.isfinite(now - since):
            return None
        return round((sum(self._totals.values()) - last) * (now - since) / (last - first), 1)
