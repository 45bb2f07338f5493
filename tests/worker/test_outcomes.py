"""The table of endings: complete, and read as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fdkd_core import errors
from fdkd_core.errors import (
    DatasetError,
    FDKDError,
    GateFailedError,
    IncompatibleError,
    InputError,
    ModelFileError,
    Problem,
    SpecError,
    StorageError,
)
from fdkd_core.workspace import write_problem_report
from worker.inputs import MissingInputError
from worker.observation import Observation
from worker.outcomes import ERRORS, Action, judge, judge_error
from worker.trainer import EXIT_NOT_STARTED


def all_errors(base: type[FDKDError] = FDKDError) -> Iterator[type[FDKDError]]:
    yield base
    for error in base.__subclasses__():
        yield from all_errors(error)


def heard(*events: dict[str, Any], lines: tuple[str, ...] = (), ready: bool = True) -> Observation:
    observation = Observation()
    for event in ({"event": "trainer_ready"},) * ready + events:
        observation.hear(json.dumps(event).encode())
    for line in lines:
        observation.add_line(line.encode())
    return observation


def test_every_error_of_the_core_has_an_ending() -> None:
    in_core = {error for error in all_errors() if error.__module__ == errors.__name__}
    assert in_core == set(ERRORS)
    # Told apart by their codes, since a code is all that crosses the pipe.
    assert len({error.code for error in ERRORS}) == len(ERRORS)


FAILED = {"event": "run_failed", "message": "so it was"}


@pytest.mark.parametrize(
    ("status", "code", "action", "retryable"),
    [
        (0, None, Action.PUBLISH, False),
        (75, "interrupted", Action.STOP, False),
        (3, "diverged", Action.FAIL, False),
        (4, "storage_full", Action.FAIL, True),
        (4, "invalid_checkpoint", Action.START_OVER, False),
        (4, "internal", Action.FAIL, False),
        (5, "out_of_memory", Action.FAIL, False),
        (6, "gate_failed", Action.FAIL, False),
        (4, None, Action.LOSE, False),
        (4, "no_such_code", Action.LOSE, False),
        (1, None, Action.LOSE, False),
        (-9, None, Action.LOSE, False),
        (-11, "diverged", Action.LOSE, False),
        (99, None, Action.LOSE, False),
        (EXIT_NOT_STARTED, None, Action.NOT_STARTED, False),
    ],
)
def test_an_ending_is_read(
    status: int, code: str | None, action: Action, retryable: bool, tmp_path: Path
) -> None:
    verdict = judge(status, heard({**FAILED, "code": code} if code else {"event": "step"}), tmp_path)
    assert (verdict.action, verdict.retryable) == (action, retryable)
    if action is Action.FAIL:
        assert (verdict.code, verdict.message) == (code, "so it was")


@pytest.mark.parametrize("status", [1, 2, -11, -6])
def test_what_dies_before_it_is_ready_has_not_started(status: int, tmp_path: Path) -> None:
    verdict = judge(status, heard(ready=False, lines=("no libcuda.so",)), tmp_path)
    assert verdict.action is Action.NOT_STARTED
    assert "no libcuda.so" in verdict.message


def test_bad_input_carries_its_problems(tmp_path: Path) -> None:
    write_problem_report(tmp_path, DatasetError(Problem("image_too_large", "is 40,000 pixels wide", row=7)))
    verdict = judge(2, heard(), tmp_path)
    assert (verdict.action, verdict.code) == (Action.FAIL, "invalid_dataset")
    error = verdict.as_error("preparing")
    assert error["problems"] == [{"code": "image_too_large", "detail": "is 40,000 pixels wide", "row": 7}]
    assert error["message"] == "is 40,000 pixels wide"
    assert error["phase"] == "preparing"
    assert error["retryable"] is False


def test_a_failed_gate_carries_its_figures(tmp_path: Path) -> None:
    failure = GateFailedError([Problem("gate_failed", "it is -3.0 points", "/gates/0")])
    problems = [problem.as_dict() for problem in failure.problems]
    event = {"event": "run_failed", "code": failure.code, "message": str(failure), "problems": problems}
    error = judge(failure.exit_code, heard(event), tmp_path).as_error("finalise")
    assert error["message"] == "it is -3.0 points"
    assert error["problems"] == [{**problems[0], "pointer": "/spec/gates/0"}]
    assert error["retryable"] is False
    # Whatever else comes over the pipe is no reason to crash.
    odd = judge(6, heard({**event, "problems": ["x", 3, {"code": "y"}]}), tmp_path)
    assert odd.problems == ({"code": "y"},)
    assert judge(6, heard({**event, "problems": 7}), tmp_path).problems == ()


@pytest.mark.parametrize(
    ("kind", "pointer", "shown"),
    [
        (IncompatibleError, "/task", "/spec/task"),
        (SpecError, "/student/architecture/depth", "/spec/student/architecture/depth"),
        (ModelFileError, "/teacher/model", "/spec/teacher/model"),
        (ModelFileError, "/task", "/task"),  # of the bundle's config
        (DatasetError, "/modalities/image/kind", "/modalities/image/kind"),
        (DatasetError, "image", "image"),
    ],
)
def test_a_pointer_into_the_spec_leads_into_the_body_that_made_the_job(
    kind: type[InputError], pointer: str, shown: str, tmp_path: Path
) -> None:
    write_problem_report(tmp_path, kind(Problem("incompatible", "is wrong", pointer)))
    (problem,) = judge(2, heard(), tmp_path).as_error("preparing")["problems"]
    assert problem["pointer"] == shown


def test_bad_input_without_a_report_is_a_folder_of_another_run(tmp_path: Path) -> None:
    assert judge(2, heard(), tmp_path).action is Action.START_OVER


@pytest.mark.parametrize("report", [b"", b"[]", b'{"problems": 3}', b'{"code": "x", "problems": [1]}'])
def test_a_broken_report_is_a_crash(report: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(report)
    assert judge(2, heard(), tmp_path).action is Action.LOSE


def test_a_crash_quotes_the_last_words(tmp_path: Path) -> None:
    lines = tuple(f"line {number}" for number in range(50))
    verdict = judge(-11, heard(lines=lines), tmp_path)
    assert "signal 11" in verdict.message
    assert "line 49" in verdict.message
    assert "line 30" in verdict.message
    assert "line 29" not in verdict.message
    assert len(verdict.as_error("student")["message"]) <= 4_000


def test_what_the_worker_meets_is_judged_by_the_same_table() -> None:
    missing = judge_error(MissingInputError())
    assert (missing.action, missing.code, missing.retryable) == (Action.FAIL, "input_missing", False)
    full = judge_error(StorageError("no space"))
    assert (full.action, full.code, full.retryable) == (Action.FAIL, "storage_full", True)
    with pytest.raises(PermissionError):
        judge_error(PermissionError())
