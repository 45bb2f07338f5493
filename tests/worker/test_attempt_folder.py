"""What one attempt takes over from the one before, while that may still be at work."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from fdkd_core.atomic_files import write_atomic
from worker.attempt_folder import make_attempt_folder


def fill(out: Path) -> None:
    checkpoint = out / "work" / "student" / "step-0000000007"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.safetensors").write_bytes(b"weights")
    (out / "work" / "student" / "tmp-123").mkdir()
    (out / "student").mkdir()
    (out / "student" / "model.safetensors").write_bytes(b"student")
    (out / ".student.abc.tmp").mkdir()
    (out / "job.json").write_text("{}")
    (out / ".lock").touch()
    (out / "report.json").touch()
    (out / "events.jsonl").write_text('{"event": "a"}\n{"event": "b"}\n{"eve')


def test_the_next_attempt_takes_over(tmp_path: Path) -> None:
    first = make_attempt_folder(tmp_path, "job_1", 1, None)
    assert not first.out.exists()
    fill(first.out)
    second = make_attempt_folder(tmp_path, "job_1", 2, first.key)
    found = sorted(path.relative_to(second.out).as_posix() for path in second.out.rglob("*"))
    assert found == [
        "events.jsonl", "job.json", "student", "student/model.safetensors", "work", "work/student",
        "work/student/step-0000000007", "work/student/step-0000000007/state.safetensors",
    ]  # fmt: skip
    # Checkpoints take no space twice; the log ends with a whole line.
    weights = "work/student/step-0000000007/state.safetensors"
    assert (second.out / weights).samefile(first.out / weights)
    assert (second.out / "events.jsonl").read_text() == '{"event": "a"}\n{"event": "b"}\n'

    second.remove_others()
    assert not first.path.exists()
    assert (second.out / weights).read_bytes() == b"weights"


def test_the_old_attempt_cannot_change_what_was_taken_over(tmp_path: Path) -> None:
    first = make_attempt_folder(tmp_path, "job_1", 1, None)
    fill(first.out)
    second = make_attempt_folder(tmp_path, "job_1", 2, first.key)
    write_atomic(first.out / "job.json", b"changed")
    write_atomic(first.out / "student" / "model.safetensors", b"changed")
    with (first.out / "events.jsonl").open("a") as log:
        log.write("more\n")
    assert (second.out / "job.json").read_text() == "{}"
    assert (second.out / "student" / "model.safetensors").read_bytes() == b"student"
    assert "more" not in (second.out / "events.jsonl").read_text()


def test_taking_over_while_the_old_attempt_writes_and_deletes(tmp_path: Path) -> None:
    """Whatever is there under its final name is whole; what vanishes meanwhile is left out."""
    first = make_attempt_folder(tmp_path, "job_1", 1, None)
    checkpoints = first.out / "work" / "student"
    checkpoints.mkdir(parents=True)
    done = threading.Event()
    written = 0

    def keep_writing() -> None:
        nonlocal written
        while not done.is_set():
            draft = checkpoints / "tmp-1"
            draft.mkdir()
            (draft / "state.json").write_text(json.dumps({"step": written, "pad": "x" * 10_000}))
            draft.rename(checkpoints / f"step-{written:010d}")
            written += 1
            for old in sorted(checkpoints.glob("step-*"))[:-2]:
                (old / "state.json").unlink()
                old.rmdir()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for attempt in range(2, 60):
            folder = make_attempt_folder(tmp_path, "job_1", attempt, first.key)
            for path in folder.out.glob("work/student/step-*/state.json"):
                assert json.loads(path.read_text())["step"] == int(path.parent.name.removeprefix("step-"))
    finally:
        done.set()
        writer.join()
    assert written > 60


def test_a_number_that_comes_again_begins_empty(tmp_path: Path) -> None:
    folder = make_attempt_folder(tmp_path, "job_1", 2, None)
    fill(folder.out)
    again = make_attempt_folder(tmp_path, "job_1", 2, None)
    assert not again.out.exists()


def test_a_folder_on_another_machine_is_not_missed(tmp_path: Path) -> None:
    folder = make_attempt_folder(tmp_path, "job_1", 2, "job_1/attempt-1")
    assert folder.inputs.is_dir()
    assert not folder.out.exists()
