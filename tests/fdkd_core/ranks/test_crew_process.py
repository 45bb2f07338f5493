"""What becomes of a run whose other processes end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import make_planted

from fdkd_core.errors import OutOfMemoryError, SpecError
from fdkd_core.options import RunOptions, prepare_torch
from fdkd_core.ranks import crew_process
from fdkd_core.ranks.crew_process import Crew, _Follower


def follower(script: str) -> _Follower:
    return _Follower(1, [sys.executable, "-c", script])


def test_an_error_of_another_rank_is_the_error_of_the_run() -> None:
    told = follower("""print('noise\\n{"code": "out_of_memory", "message": "no room"}'); exit(5)""")
    error = told.error()
    told.end()
    assert isinstance(error, OutOfMemoryError)
    assert str(error) == "no room"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit(3)", "process 1 of the training ended with exit status 3"),
        ("""print('{"code": "odd"}')""", "process 1 of the training ended with exit status 0"),
        ("import os; os.kill(os.getpid(), 9)", "process 1 of the training was ended by signal 9"),
    ],
)
def test_what_ends_without_a_word_is_told_by_its_status(script: str, words: str) -> None:
    ended = follower(script)
    error = ended.error()
    ended.end()
    assert type(error) is RuntimeError
    assert str(error) == words


def test_a_run_that_waits_for_a_rank_that_is_gone_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an exchange on a GPU does not come back."""
    monkeypatch.setattr(crew_process, "NOTICE_S", 0.2)
    told: list[Exception] = []
    is_told = threading.Event()

    def is_stuck(error: Exception) -> None:
        told.append(error)
        is_told.set()

    data = make_planted(0, num_train=8, num_test=8).data
    crew = Crew(2, tmp_path / "ranks", data, torch.device("cpu"), 1, is_stuck)
    gone = follower("exit(1)")
    crew._in_phase.set()
    threading.Thread(target=crew._watch, args=(gone,), daemon=True).start()
    assert is_told.wait(10)
    assert str(told[0]) == "process 1 of the training ended with exit status 1"
    gone.end()


@pytest.mark.parametrize(
    ("options", "pointer"),
    [({"device": "auto"}, "/resources/gpus"), ({"device": "cpu", "processes": 2}, None)],
)
def test_gpus_that_are_not_there_are_refused_but_a_cpu_can_stand_in(
    options: dict[str, Any], pointer: str | None
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = torch.get_num_threads()
    try:
        if pointer is None:
            assert prepare_torch(RunOptions(**options, threads=2), 2) == (torch.device("cpu"), 1)
            return
        with pytest.raises(SpecError) as caught:
            prepare_torch(RunOptions(**options), 2)
        (problem,) = caught.value.problems
        assert (problem.code, problem.pointer) == ("not_available", pointer)
        assert problem.detail == "2 GPUs were asked for; this machine has 0"
    finally:
        torch.set_num_threads(before)
