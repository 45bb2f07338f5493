"""How a trainer ended, and what that means for its job: one table.

| exit status | last event | action |
|---|---|---|
| 0 | | publish |
| 2 | | fail with the problems of report.json; start over when the folder taken over is another run's |
| 3 to 6 | `run_failed` with the error's code | see `ERRORS` |
| 75 | | stop: cancelled when that was wished, else back to the queue, free of charge |
| 78, or any but 0 and 75 before `trainer_ready` | | not started: the worker's fault, not charged to the job |
| none: no folder could be made for the job | | not started, as above |
| none: no room for its inputs | | lose: another machine may have some |
| 1, a signal, anything else | | lose: try again from the last checkpoint, after a while |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from fdkd_core.errors import (
    CheckpointError,
    DatasetError,
    EveryMethodFailedError,
    FDKDError,
    GateFailedError,
    IncompatibleError,
    InputError,
    ModelFileError,
    OutOfMemoryError,
    SpecError,
    StorageError,
    TrainingDivergedError,
    TrainingInterrupted,
)
from fdkd_core.spec import AnyJobSpec
from worker.observation import Observation
from worker.trainer import EXIT_NOT_STARTED

EXIT_DONE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 2, 75
_ERROR_EXITS = frozenset({3, 4, 5, 6})
MAX_MESSAGE_CHARACTERS = 4_000
MAX_PROBLEMS = 100


class Action(StrEnum):
    """What to do with the job."""

    PUBLISH = "publish"
    FAIL = "fail"
    STOP = "stop"
    LOSE = "lose"
    START_OVER = "start_over"
    """Once within the attempt, without what was taken over from the one before."""
    NOT_STARTED = "not_started"


@dataclass(frozen=True)
class Ending:
    """What an ending means."""

    action: Action
    retryable: bool = False
    """Whether the same job, tried again by its user, may succeed."""


ERRORS: dict[type[FDKDError], Ending] = {
    InputError: Ending(Action.FAIL),
    SpecError: Ending(Action.FAIL),
    DatasetError: Ending(Action.FAIL),
    ModelFileError: Ending(Action.FAIL),
    IncompatibleError: Ending(Action.FAIL),
    TrainingDivergedError: Ending(Action.FAIL),
    TrainingInterrupted: Ending(Action.STOP),
    GateFailedError: Ending(Action.FAIL),
    EveryMethodFailedError: Ending(Action.FAIL),
    CheckpointError: Ending(Action.START_OVER),
    StorageError: Ending(Action.FAIL, retryable=True),
    OutOfMemoryError: Ending(Action.FAIL),
    FDKDError: Ending(Action.FAIL),
}
"""Of every error that the core raises on purpose."""

_SPEC_FIELDS = frozenset(name for spec in get_args(AnyJobSpec) for name in spec.model_fields)
_MODEL_FIELDS = frozenset({"teacher", "more_teachers", "student"})
_ABOUT_THE_SPEC = frozenset(error.code for error in (SpecError, IncompatibleError, GateFailedError))
_BY_CODE = {error.code: ending for error, ending in ERRORS.items()}


@dataclass(frozen=True)
class Verdict:
    """An ending with what its user is told."""

    action: Action
    code: str = ""
    message: str = ""
    retryable: bool = False
    problems: tuple[dict[str, Any], ...] = ()

    def as_error(self, phase: str) -> dict[str, Any]:
        """`Job.error`."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message[:MAX_MESSAGE_CHARACTERS],
            "phase": phase,
            "retryable": self.retryable,
        }
        if self.problems:
            error["problems"] = [_in_body(problem, self.code) for problem in self.problems]
        return error


def _in_body(problem: dict[str, Any], code: str) -> dict[str, Any]:
    """The problem with a pointer into the body that made the job, if it has one into the spec."""
    pointer = problem.get("pointer")
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        return problem
    # What is wrong with data and models may point into a description or a config, which have a `/task` too.
    fields = _SPEC_FIELDS if code in _ABOUT_THE_SPEC else _MODEL_FIELDS
    return {**problem, "pointer": f"/spec{pointer}"} if pointer.split("/")[1] in fields else problem


def judge(status: int, observation: Observation, out: Path) -> Verdict:
    """Reads the table.

    Args:
        status: Exit status of the trainer, negative for a signal.
        observation: What it said.
        out: The run's output folder, where report.json may lie.
    """
    last_event, last_lines = observation.last_event, list(observation.last_lines)
    if status == EXIT_DONE:
        return Verdict(Action.PUBLISH)
    if status == EXIT_INTERRUPTED:
        return Verdict(Action.STOP)
    if status == EXIT_NOT_STARTED or not observation.is_ready:
        return Verdict(Action.NOT_STARTED, "not_started", _crash_message(status, last_lines))
    if status == EXIT_BAD_INPUT:
        return _bad_input(out, last_lines)
    code = last_event.get("code") if last_event.get("event") == "run_failed" else None
    if status in _ERROR_EXITS and code in _BY_CODE:
        ending = _BY_CODE[str(code)]
        message, problems = str(last_event.get("message")), _problems_told(last_event)
        return Verdict(ending.action, str(code), message, ending.retryable, problems)
    return Verdict(Action.LOSE, "crashed", _crash_message(status, last_lines))


def judge_error(error: FDKDError | OSError) -> Verdict:
    """The same for what the worker itself met while it prepared or published.

    Raises:
        OSError: A fault of the worker's machine that says nothing about the job.
    """
    if isinstance(error, OSError):
        raise error
    ending = ERRORS.get(type(error), Ending(Action.FAIL))
    problems: tuple[dict[str, Any], ...] = ()
    if isinstance(error, InputError):
        problems = tuple(problem.as_dict() for problem in error.problems[:MAX_PROBLEMS])
    return Verdict(ending.action, error.code, str(error), ending.retryable, problems)


def _bad_input(out: Path, last_lines: list[str]) -> Verdict:
    try:
        report = json.loads((out / "report.json").read_bytes())
        problems = tuple(dict(problem) for problem in report["problems"][:MAX_PROBLEMS])
        code = str(report["code"])
    except FileNotFoundError:
        # The only refusal that leaves no report: the folder is not this run's.
        return Verdict(Action.START_OVER, "invalid_checkpoint", "\n".join(last_lines))
    except (ValueError, KeyError, TypeError, OSError):
        return Verdict(Action.LOSE, "crashed", _crash_message(EXIT_BAD_INPUT, last_lines))
    message = "; ".join(str(problem.get("detail", "")) for problem in problems[:3])
    return Verdict(Action.FAIL, code, message, problems=problems)


def _problems_told(event: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    problems = event.get("problems")
    if not isinstance(problems, list):
        return ()
    return tuple(problem for problem in problems[:MAX_PROBLEMS] if isinstance(problem, dict))


def _crash_message(status: int, last_lines: list[str]) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
    said = "\n".join(last_lines)
    return f"The trainer {how}." + (f" Its last words:\n{said}" if said else " It said nothing.")
