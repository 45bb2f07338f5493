import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_decoders import RECIPE, misbehave, report_torch

from fdkd_core.modalities import decoder_process
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.decoder_process import MAX_CRASHES, DecoderProcess, DecodeTask

TASK = DecodeTask(misbehave, RECIPE, np.dtype(np.float32))


@pytest.fixture(scope="module")
def child():  # shared, because starting one takes most of a second; after a crash it starts itself again
    with DecoderProcess(cpu_seconds=1) as process:
        yield process


def codes(outcomes) -> list[str]:
    return [outcome.code if isinstance(outcome, RowError) else "good" for outcome in outcomes]


def test_values_are_decoded_in_another_process_that_stays(child):
    first, second = child.decode(TASK, [b"row 1", b"row 2"])
    (third,) = child.decode(TASK, [b"row 3"])
    assert [first[0], second[0], third[0]] == [1, 2, 3]
    assert first[1] == second[1] == third[1] != os.getpid()


@pytest.mark.parametrize(("death", "how"), [(b"segfault", "SIGSEGV"), (b"exit", "killed")])
def test_only_the_guilty_are_refused_when_the_child_dies(child, death, how):
    outcomes = child.decode(TASK, [b"row 1", death, b"row 3"])
    assert codes(outcomes) == ["good", "decoder_crashed", "good"]
    assert how in outcomes[1].detail
    assert codes(child.decode(TASK, [b"row 4"])) == ["good"]


def test_processor_time_is_limited(child):
    (outcome,) = child.decode(TASK, [b"spin"])
    assert outcome.code == "decoder_crashed"
    assert "SIGXCPU" in outcome.detail


def test_crashes_without_end_are_given_up(child, monkeypatch):
    monkeypatch.setattr(decoder_process, "MAX_CRASHES", 2)
    assert MAX_CRASHES >= 10  # all ten bad rows that are reported have been tried
    outcomes = child.decode(TASK, [b"segfault"] * 9)
    assert codes(outcomes) == ["decoder_crashed"] * 9
    assert "not tried" in outcomes[2].detail
    assert "SIGSEGV" in outcomes[1].detail


def test_memory_is_limited(child):
    assert codes(child.decode(TASK, [b"allocate", b"row 1"])) == ["exceeds_limit", "good"]


def test_files_can_be_neither_written_nor_opened_in_numbers(child):
    written = Path("/tmp/written-by-decoder")
    assert codes(child.decode(TASK, [b"write", b"open", b"row 1"])) == [
        "decoder_crashed",
        "decoder_crashed",
        "good",
    ]
    assert not written.exists() or written.stat().st_size == 0
    written.unlink(missing_ok=True)


def test_errors_of_a_value_come_back(child):
    assert codes(child.decode(TASK, [b"refuse", b"raise", b"row 1"])) == [
        "invalid_image",
        "decoder_crashed",
        "good",
    ]


def test_the_environment_is_not_handed_on(child, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    child.close()
    count, has_secret = child.decode(TASK, [b"environment"])[0]
    assert has_secret == 0
    assert count <= 10


def test_nothing_is_left_running(child):
    child.decode(TASK, [b"row 1"])
    pid = int(child.decode(TASK, [b"row 1"])[0][1])
    child.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_reply_is_never_unpickled(child, monkeypatch):
    child.decode(TASK, [b"row 1"])
    monkeypatch.setattr("pickle.loads", lambda *_: pytest.fail("unpickled"))
    monkeypatch.setattr("multiprocessing.connection.Connection.recv", lambda *_: pytest.fail("unpickled"))
    assert codes(child.decode(TASK, [b"row 2"])) == ["good"]


def test_the_child_has_no_torch(child):
    (has_torch,) = child.decode(DecodeTask(report_torch, {"input_shape": [1]}, TASK.dtype), [b""])
    assert has_torch[0] == 0


def test_a_child_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(decoder_process, "_KEPT_ENVIRONMENT", ())
    monkeypatch.setattr("sys.path", ["/nowhere"])
    with DecoderProcess() as process, pytest.raises(RuntimeError, match="Error"):
        process.decode(TASK, [b"row 1"])


def test_limits_of_the_process_that_starts_it_are_kept_within():
    """Only root may raise a hard limit: a decoder that tried would die before its first value."""
    script = (
        "import resource; from test_decoder_process import *\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (500, 600))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "with DecoderProcess(cpu_seconds=1) as process: print(codes(process.decode(TASK, [b'row 1'])))"
    )
    here = Path(__file__).parent
    support = here.parents[1] / "support"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{here}:{support}"},
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "['good']\n", ran.stderr
