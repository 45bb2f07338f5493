"""The main job through the service, from data to a student that predicts.

    python examples/demo.py [--out runs/demo]

Makes the demo's data set, starts `fdkd serve` on a free port with a data folder of its own, uploads the data,
has a teacher that sees digits teach a student that only hears them, downloads the student and lets it listen
to voices it has never heard. Stops what it started, also on Ctrl-C. The data: `make_digits.py`.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import make_digits
from rich.console import Console

from fdkd_client import Client, Dataset, FDKDClientError, Job
from fdkd_client.cli.job_tables import failure_view, result_view
from fdkd_client.cli.progress import BytesProgress, JobProgress, Waiting
from fdkd_client.cli.terminal import new_table, plain
from fdkd_client.discovery import local_server_path, read_local_server
from fdkd_client.results import Failure
from fdkd_core import load_student
from fdkd_core.spec import parse_spec

SPEC = Path(__file__).with_name("digits.yaml")
RECORDINGS = 8
"""How many the student is shown, each another word."""
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 15


class DemoError(Exception):
    """The demo cannot go on."""

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.failure = failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description="The main job through the service, start to end.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where data and student go")
    parser.add_argument("--pairs", type=int, default=1500, help="size of the data set; default 1500")
    parser.add_argument("--spec", type=Path, default=SPEC, help="the job; default examples/digits.yaml")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    # Whoever stops the demo politely wants it to clean up, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False)
    try:
        demonstrate(console, given.out, given.spec, given.pairs)
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything was stopped.")
        return 130
    except (DemoError, FDKDClientError) as error:
        console.print(f"[bold red]error:[/] {plain(error)}", soft_wrap=True)
        if isinstance(error, DemoError) and error.failure is not None:
            console.print(failure_view(error.failure))
        return 1
    console.print(
        f"Done in {time.monotonic() - started:.0f} s. Next: `fdkd serve`, and README's walk-through."
    )
    return 0


def demonstrate(console: Console, out: Path, spec: Path, pairs: int) -> None:
    """Every step, told as it goes."""
    step = Steps(console)
    step("data: images of digits, paired with spoken digits")
    data = out / f"digits-{pairs}"
    if make_digits.main([str(data), "--pairs", str(pairs)]):
        raise DemoError("the data cannot be made")
    step("start the service: fdkd serve --port 0")
    with served(out / "server.log"), Client() as client:
        console.print(f"API and worker on {client.server.url}")
        step(f"upload: fdkd datasets create {data} --name digits --wait")
        upload(client, data)
        step(f"distil: fdkd jobs run {spec} --wait")
        job = distil(client, spec)
        step("result: fdkd jobs show JOB")
        assert job.result is not None
        console.print(result_view(job.result))
        step("use: fdkd students download JOB -o DIR, then fdkd_core.load_student(DIR)")
        student = client.students.download(job, out / f"student-{job.id[-8:]}")
        console.print(f"the student, a folder of {_folder_bytes(student) / 1000:,.0f} kB: {student}")
        listen(console, student, data)


@contextmanager
def served(log: Path, *, workers: int = 1) -> Iterator[None]:
    """A server of the demo's own, that other `fdkd` commands do not see and that nothing is left of."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fdkd-demo-") as folder, log.open("wb") as log_file:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        os.environ["XDG_CONFIG_HOME"] = f"{folder}/config"
        for name in ("FDKD_URL", "FDKD_API_KEY", "FDKD_DATABASE_URL", "FDKD_BROKER_URL"):
            os.environ.pop(name, None)
        # Tied to this process, and out of reach of the terminal's Ctrl-C, which it gets from `stop`.
        command = [sys.executable, "-m", "fdkd_client.serve.tethered", str(os.getpid())]
        command += ["fdkd_client", "serve", "--port", "0", "--data-dir", f"{folder}/data"]
        server = subprocess.Popen(  # noqa: S603 - our own modules
            [*command, "--workers", str(workers)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
        )
        try:
            wait_until_served(server, log)
            yield
        finally:
            stop(server)


def wait_until_served(server: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for the note by which a local server is found."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoError(f"the server ended at its start:\n{log.read_text(errors='replace')}")
        if local_server_path().exists() and read_local_server() is not None:
            return
        time.sleep(0.1)
    raise DemoError(f"the server does not start; see {log}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and all it started."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def upload(client: Client, folder: Path) -> Dataset:
    """Uploads the data set and waits until every row of it was looked at."""
    with BytesProgress("uploading") as progress:
        dataset = client.datasets.create(folder, "digits", on_progress=progress)
    with Waiting("validating"):
        dataset = client.datasets.wait(dataset, timeout_s=300)
    if dataset.state != "ready":
        raise DemoError(f"the data set is {dataset.state}", dataset.error)
    return dataset


def distil(client: Client, spec: Path) -> Job:
    """Runs the job to its end."""
    job = client.jobs.create(parse_spec(spec.read_bytes()))
    with JobProgress() as progress:
        job = client.jobs.wait(job, on_update=progress)
    if job.state != "succeeded":
        raise DemoError(f"the job is {job.state}", job.error)
    return job


def listen(console: Console, folder: Path, data: Path) -> None:
    """Plays the student a few recordings of the test split, whose voices it has never heard."""
    student = load_student(folder)
    table = new_table("recording", "is", "the student hears", "confidence", "", right=("confidence",))
    for row in _test_rows(data):
        heard = student.predict(data / row["audio"])
        truth = student.classes[int(row["label"])]
        mark = "[green]right[/]" if heard.label == truth else "[red]wrong[/]"
        confidence = max(heard.probabilities.values())
        table.add_row(f"{row['audio']} ({row['group']})", truth, heard.label, f"{confidence:.0%}", mark)
    console.print(table)


def _test_rows(data: Path) -> list[dict[str, str]]:
    """The first recording of each of the first words, each from another voice where there are enough."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    chosen: list[dict[str, str]] = []
    for label in range(RECORDINGS):
        voices = {row["group"] for row in chosen}
        of_label = [row for row in rows if row["label"] == str(label)]
        others = [row for row in of_label if row["group"] not in voices]
        chosen += (others or of_label)[:1]
    return chosen


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Steps:
    """Numbers what is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def __call__(self, text: str) -> None:
        """Tells of the next step."""
        self._number += 1
        self._console.print(f"\n[bold]{self._number}. {text}[/]", soft_wrap=True)
        self._console.file.flush()


if __name__ == "__main__":
    sys.exit(main())
