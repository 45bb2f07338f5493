"""What is seen while something goes on: a live bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fdkd_client.cli.job_tables import steps_text
from fdkd_client.cli.terminal import plain, say, stderr
from fdkd_client.cli.wording import CHILDREN, CONCLUDING, percent, phase_words, styled_state
from fdkd_client.errors import FDKDClientError
from fdkd_client.results import Job
from fdkd_client.waiting import PATIENCE_S
from fdkd_core.count_words import duration, size

LINE_EVERY_S = 5.0
"""Between lines where there is no terminal; for jobs, later up to a minute."""
_LONGEST_SILENCE_S = 60.0
_SLOWER_EACH_LINE = 1.1


def say_away(error: FDKDClientError | None) -> None:
    """Tells that the server has gone, or that it is back: a bar that stands still does not say which."""
    if error is None:
        say("[green]the server answers again[/]")
    else:
        say(f"[yellow]no answer from the server[/], asking again for {duration(PATIENCE_S)}: {plain(error)}")


class _Display:
    """A rich progress display that is only there on a terminal."""

    def __init__(self, *columns: TextColumn | BarColumn | TimeElapsedColumn) -> None:
        self.is_live = stderr().is_terminal
        self.progress = Progress(*columns, console=stderr(), transient=True, disable=not self.is_live)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()


class JobProgress(_Display):
    """Shows a job from state to state and phase to phase. Call it with each new look at the job."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
        )
        self._task: TaskID | None = None
        self._shown: tuple[object, ...] = ()
        self._attempt = 0
        self._last_line = 0.0
        self._line_every_s = LINE_EVERY_S

    def __call__(self, job: Job) -> None:
        """Shows what is new."""
        phase = job.progress.phase if job.progress and job.state == "running" else None
        if phase and job.children is not None and phase != CHILDREN:
            phase = CONCLUDING
        # Of a comparison every change of its jobs is told: there are minutes between them.
        of_children = job.children if phase == CHILDREN else None
        shown = (job.state, job.cancel_requested, job.attempt, phase, of_children)
        if shown != self._shown:
            self._tell(job, phase)
            self._shown = shown
            self._last_line = time.monotonic()
        if self.is_live:
            self._move(job)
        elif phase and time.monotonic() - self._last_line >= self._line_every_s and job.progress:
            of_what = "" if phase == CHILDREN else f"{plain(phase)}: "  # that it is about jobs is in the text
            say(f"{of_what}{steps_text(job.progress)}")
            self._last_line = time.monotonic()
            self._line_every_s = min(self._line_every_s * _SLOWER_EACH_LINE, _LONGEST_SILENCE_S)

    def _tell(self, job: Job, phase: str | None) -> None:
        """A line for each thing that changes the course."""
        before_state = self._shown[0] if self._shown else None
        if job.attempt > 1 and job.attempt != self._attempt and self._attempt:
            say(f"[yellow]attempt {job.attempt}[/]: goes on from the checkpoint of the one before")
        self._attempt = job.attempt
        if job.cancel_requested and not job.is_terminal and not (self._shown and self._shown[1]):
            say("[magenta]cancelling[/]: it will stop at its next step")
        if job.state != before_state and job.state == "queued":
            say(f"{styled_state('queued')}: waiting for a worker" if job.attempt == 0 else
                f"{styled_state('queued')}: waiting for a worker to go on")  # fmt: skip
        if phase == CHILDREN and job.progress:
            say(f"{steps_text(job.progress)}{_by_state(job)}")
        elif phase and (not self._shown or phase != self._shown[3]):
            say(f"[bold]{phase_words(phase)}[/]")

    def _move(self, job: Job) -> None:
        if self._task is None:
            self._task = self.progress.add_task(styled_state(job.state), total=None, figures="")
        progress = job.progress
        if job.state != "running" or progress is None or progress.step is None or not progress.total_steps:
            self.progress.update(self._task, description=styled_state(job.state), total=None, figures="")
            return
        left = f"about {duration(progress.eta_s)} left" if progress.eta_s is not None else ""
        epoch = f"epoch {progress.epoch}  " if progress.epoch else ""
        self.progress.update(
            self._task,
            description="jobs" if progress.phase == CHILDREN else plain(progress.phase),
            completed=progress.step,
            total=progress.total_steps,
            figures=f"{progress.step:,}/{progress.total_steps:,}  {epoch}{left}",
        )


def _by_state(job: Job) -> str:
    """What else there is to say of a comparison's jobs."""
    assert job.children is not None
    told = [(job.children.running, "running"), (job.children.failed, "failed")]
    return "".join(f", {number} {what}" for number, what in told if number)


class BytesProgress(_Display):
    """Shows bytes on their way. Call it with bytes so far and bytes in all."""

    def __init__(self, doing: str) -> None:
        """Args: doing: Such as `uploading`."""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
        )
        self._doing = doing
        self._task: TaskID | None = None
        self._last_line = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Shows how far it is."""
        if self._task is None:
            self._task = self.progress.add_task(self._doing, total=total, figures="")
        self.progress.update(
            self._task, completed=done, total=total, figures=f"{size(done)} of {size(total)}"
        )
        if not self.is_live and time.monotonic() - self._last_line >= LINE_EVERY_S:
            say(f"{self._doing}: {percent(done / max(total, 1))}% of {size(total)}")
            self._last_line = time.monotonic()


class Waiting(_Display):
    """Shows that something of unknown length goes on."""

    def __init__(self, doing: str) -> None:
        """Args: doing: Such as `validating`."""
        super().__init__(TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
        self._doing = doing

    def __enter__(self) -> Self:
        super().__enter__()
        if self.is_live:
            self.progress.add_task(self._doing, total=None)
        else:
            say(self._doing)
        return self
