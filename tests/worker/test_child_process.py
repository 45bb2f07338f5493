"""Children on a leash: what they are given, what they cannot outlive, how they are ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_process import is_alive

from worker.child_process import MAX_LINE_BYTES, ChildProcess, child_environment


def start(
    script: str, folder: Path, *, on_event: list[bytes] | None = None
) -> tuple[ChildProcess, list[bytes]]:
    lines: list[bytes] = []
    events = on_event if on_event is not None else []
    child = ChildProcess(
        [sys.executable, "-c", textwrap.dedent(script), "{events_fd}"],
        folder=folder,
        environment=child_environment(folder),
        on_line=lines.append,
        on_event=events.append,
    )
    return child, lines


def wait(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lines_and_events_come_apart(tmp_path: Path) -> None:
    events: list[bytes] = []
    child, lines = start(
        """
        import os, sys
        pipe = os.fdopen(int(sys.argv[1]), "wb")
        pipe.write(b"one\\n" + b"x" * 3_000_000 + b"\\ntwo\\nhalf")
        sys.stderr.write("said\\r\\nlast words")
        print("lost")
        """,
        tmp_path,
        on_event=events,
    )
    assert child.wait(20) == 0
    child.close()
    assert lines == [b"said", b"last words"]
    # A line without end does not fill the memory, and the next one is whole again.
    assert [len(event) for event in events] == [3, MAX_LINE_BYTES, 3, 4]
    assert events[2] == b"two"


def test_no_secret_reaches_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_DATABASE_URL", "postgresql://user:canary@host/db")
    monkeypatch.setenv("FDKD_BROKER_URL", "redis://:canary@host")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    opened = (tmp_path / "open-in-the-worker").open("w")
    child, lines = start(
        """
        import json, os, sys
        json.dump([dict(os.environ), sorted(map(int, os.listdir("/proc/self/fd")))], sys.stderr)
        """,
        tmp_path,
    )
    assert child.wait(20) == 0
    child.close()
    opened.close()
    environment, descriptors = json.loads(lines[0])
    assert "canary" not in json.dumps(environment)
    assert not [name for name in environment if name.startswith("FDKD_")]
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert environment["TMPDIR"] == str(tmp_path)
    # Standard streams, the events pipe, and the one that lists this folder.
    assert len(descriptors) == 5


def test_the_whole_group_is_killed(tmp_path: Path) -> None:
    child, lines = start(
        """
        import subprocess, sys, time
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        sys.stderr.write(f"{inner.pid}\\n")
        time.sleep(600)
        """,
        tmp_path,
    )
    wait(lambda: lines)
    inner = int(lines[0])
    assert is_alive(inner)
    child.kill()
    assert child.wait(5) == -9
    child.close()
    wait(lambda: not is_alive(inner))


CONFINED = """
    import os, sys, time
    from fdkd_core.parent_death import die_with_parent
    from worker.confinement import watch_worker
    die_with_parent({pid})
    watch_worker({silence_s})
    sys.stderr.write("up\\n")
    time.sleep(600)
"""


def test_a_child_dies_when_its_pulse_stops(tmp_path: Path) -> None:
    child, lines = start(CONFINED.format(pid=os.getpid(), silence_s=0.5), tmp_path)
    wait(lambda: lines)
    for _ in range(10):
        child.beat()
        time.sleep(0.1)
    assert child.wait(0) is None
    stopped_at = time.monotonic()
    assert child.wait(5) == -9
    assert time.monotonic() - stopped_at < 2
    child.close()


def test_a_child_whose_worker_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    child, lines = start(CONFINED.format(pid=1, silence_s=60), tmp_path)
    assert child.wait(10) == 1
    child.close()
    assert lines == []


@pytest.mark.parametrize("means", ["signal", "pulse"])
def test_a_child_dies_with_its_worker(tmp_path: Path, means: str) -> None:
    """By the kernel's signal, and without it by the end of the pulse."""
    script = tmp_path / "worker.py"
    confine = "die_with_parent(os.getppid())" if means == "signal" else "watch_worker(600)"
    script.write_text(
        textwrap.dedent(
            f"""
            import subprocess, sys, time
            inner = (
                "import os, sys, time; from worker.confinement import *; "
                "from fdkd_core.parent_death import die_with_parent; {confine}; "
                "sys.stdout.write(str(os.getpid())); sys.stdout.flush(); time.sleep(600)"
            )
            child = subprocess.Popen(
                [sys.executable, "-c", inner], stdin=subprocess.PIPE, start_new_session=True
            )
            time.sleep(600)
            """
        )
    )
    worker = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    pid = int(os.read(worker.stdout.fileno(), 32))
    assert is_alive(pid)
    worker.kill()
    worker.wait()
    wait(lambda: not is_alive(pid), 2)
    worker.stdout.close()


def test_a_missing_program_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        ChildProcess(["/nonexistent"], folder=tmp_path, environment={}, on_line=lambda line: None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_idle_threads_of_a_child_sleep_soon_unless_somebody_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert child_environment(tmp_path)["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    chosen = child_environment(tmp_path)
    assert (chosen["OMP_WAIT_POLICY"], chosen.get("GOMP_SPINCOUNT")) == ("ACTIVE", None)


def test_fifty_children_leave_no_descriptor_behind(tmp_path: Path) -> None:
    counts = []
    for _ in range(50):
        child = ChildProcess(
            ["true"],
            folder=tmp_path,
            environment=child_environment(tmp_path),
            on_line=lambda line: None,
            on_event=lambda line: None,
        )
        child.wait(10)
        child.close()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] == counts[0]
