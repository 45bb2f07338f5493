"""Does distillation help on this data, and which method? Asked through the service, shared by two workers.

    python examples/demo_compare.py [--out runs/demo-compare]

Makes the demo's data set, starts `fdkd serve --workers 2` on a free port with a data folder of its own,
uploads the data, has the same student trained by several methods and without a teacher, each tuned alike, and
shows what came of it. Keeps table and plots. Stops what it started, also on Ctrl-C. See `make_digits.py`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import make_digits
from demo import DemoError, Steps, served, upload
from rich.console import Console

from fdkd_client import Client, FDKDClientError, Job
from fdkd_client.cli.job_tables import children_table, failure_view, result_view
from fdkd_client.cli.progress import JobProgress
from fdkd_client.cli.terminal import plain
from fdkd_core.spec import parse_spec

SPEC = Path(__file__).with_name("compare-digits.yaml")
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description="Methods side by side through the service, start to end.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-compare"), help="where all goes")
    parser.add_argument("--pairs", type=int, default=1500, help="size of the data set; default 1500")
    parser.add_argument("--spec", type=Path, default=SPEC, help="default examples/compare-digits.yaml")
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
    console.print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0


def demonstrate(console: Console, out: Path, spec: Path, pairs: int) -> None:
    """Every step, told as it goes."""
    step = Steps(console)
    step("data: images of digits, paired with spoken digits")
    data = out / f"digits-{pairs}"
    if make_digits.main([str(data), "--pairs", str(pairs)]):
        raise DemoError("the data cannot be made")
    step(f"start the service: fdkd serve --port 0 --workers {WORKERS}")
    with served(out / "server.log", workers=WORKERS), Client() as client:
        console.print(f"API and {WORKERS} workers on {client.server.url}")
        step(f"upload: fdkd datasets create {data} --name digits --wait")
        upload(client, data)
        step(f"compare: fdkd jobs run {spec} --wait")
        job = compare(console, client, spec)
        step("result: fdkd jobs show JOB")
        assert job.result is not None
        console.print(result_view(job.result))
        report = out / f"report-{job.id[-8:]}"
        step(f"tables and plots: fdkd jobs artifacts JOB -o {report}")
        for path in client.jobs.download_artifacts(job.id, report):
            console.print(str(path), soft_wrap=True)


def compare(console: Console, client: Client, spec: Path) -> Job:
    """Runs the comparison to its end, and shows the jobs that it was made of."""
    job = client.jobs.create(parse_spec(spec.read_bytes()))
    with JobProgress() as progress:
        job = client.jobs.wait(job, on_update=progress)
    console.print(children_table(client.jobs.children(job)))
    if job.state != "succeeded":
        raise DemoError(f"the comparison is {job.state}", job.error)
    return job


if __name__ == "__main__":
    sys.exit(main())
