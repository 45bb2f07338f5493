"""`fdkd jobs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fdkd_client.cli import exit_codes
from fdkd_client.cli.connection import connect, detach_on_interrupt, require_wait, tell_of_no_worker
from fdkd_client.cli.terminal import (
    Output,
    OutputOption,
    plain,
    say,
    show,
    show_error,
    show_json,
    show_line,
    show_problems,
)
from fdkd_core.count_words import count

if TYPE_CHECKING:
    from fdkd_client.client import Client
    from fdkd_client.results import Job
    from fdkd_core.spec import AnyJobSpec

app = typer.Typer(no_args_is_help=True, help="Distil: start, follow, stop.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id (job_...).", show_default=False)]
Timeout = Annotated[float | None, typer.Option(help="Longest wait in seconds.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")]
Key = Annotated[str | None, typer.Option(help="The same key never makes a second job.", show_default=False)]


@app.command()
def run(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.yaml", help="The job; `-` reads stdin.", show_default=False)
    ],
    wait: Wait = False,
    timeout: Timeout = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check, and create nothing.")
    ] = False,
    idempotency_key: Key = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A note of your own.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a job.

    Exit status: 0 succeeded (or without --wait, created), 1 failed, 3 cancelled, 4 still going after the
    timeout, 5 rejected, 6 key or quota, 7 server unreachable, 130 detached by Ctrl-C.
    """
    require_wait(timeout, wait)
    notes = _notes(metadata or [])
    parsed = _parse(spec)
    with connect() as client:
        with _missing_parts_reject():
            if validate_only:
                _validate(client, parsed, notes, output)
                return
            job = client.jobs.create(parsed, metadata=notes, idempotency_key=idempotency_key)
        _after_creation(client, job, wait, timeout, output)


@app.command("ls")
def list_jobs(
    state: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="distill, train, study, compare or diagnose.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only of exactly this name.", show_default=False)] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Only over this dataset: its id (ds_...) or name.", show_default=False),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Only the jobs of this comparison.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, without those that a comparison is made of."""
    with connect() as client:
        dataset_id = None if dataset is None else client.datasets.find(dataset).id
        found = list(
            client.jobs.list(
                state=state, kind=kind, name=name, dataset_id=dataset_id, parent_id=parent, limit=limit
            )
        )
    if output is Output.JSON:
        show_json(found)
    elif not found and any((state, kind, name, dataset, parent)):
        say("There are no such jobs.")
    elif not found:
        say("No jobs yet. Start one: fdkd jobs run SPEC.yaml --wait")
    else:
        from fdkd_client.cli.job_tables import jobs_table

        show(jobs_table(found))


@app.command("show")
def show_job(job: JobId, output: OutputOption = Output.TABLE) -> None:
    """Show a job: where it is, what it measured, what went wrong."""
    with connect() as client:
        _show(client, client.jobs.get(job), output)


@app.command()
def watch(job: JobId, timeout: Timeout = None, output: OutputOption = Output.TABLE) -> None:
    """Follow a job until it has ended; exit status as of `fdkd jobs run --wait`."""
    with connect() as client:
        _wait(client, job, timeout, output)


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
) -> None:
    """Write what a job wrote."""
    with connect() as client, detach_on_interrupt(f"fdkd jobs logs {plain(job)} --follow"):
        last: int | None = None
        while True:
            # Asked before the lines: what came until it ended is in them.
            has_ended = client.jobs.get(job).is_terminal if follow else True
            for line in client.jobs.logs(job, after=last):
                last = line.id
                show_line(line.line)
            sys.stdout.flush()
            if has_ended:
                return
            time.sleep(1)


@app.command()
def artifacts(
    job: JobId,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Download them all into it.", show_default=False),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the files that a job made, or download them."""
    with connect() as client:
        if out is not None:
            from fdkd_client.cli.progress import BytesProgress

            with BytesProgress("downloading") as progress:
                paths = client.jobs.download_artifacts(job, out, on_progress=progress)
            _show_paths(paths, output)
            return
        found = client.jobs.artifacts(job)
    if output is Output.JSON:
        show_json(found)
    elif not found:
        say(_NO_FILES)
    else:
        from fdkd_client.cli.job_tables import artifacts_table

        show(artifacts_table(found))


_NO_FILES = "It has made no files; only a job that has succeeded has some."


def _show_paths(paths: Sequence[Path], output: Output) -> None:
    if output is Output.JSON:
        show_json([str(path) for path in paths])
    elif not paths:
        say(_NO_FILES)
    for path in paths if output is not Output.JSON else ():
        show_line(str(path))


@app.command()
def cancel(job: JobId, output: OutputOption = Output.TABLE) -> None:
    """Stop a job. A running one stops at its next step and keeps its checkpoint."""
    with connect() as client:
        found = client.jobs.cancel(job)
    if output is Output.JSON:
        show_json(found)
    else:
        show_line(found.state)
    if not found.is_terminal:
        say(f"It will stop at its next step: fdkd jobs watch {found.id}")


@app.command("rm")
def remove(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids (job_...).", show_default=False)],
    with_models: Annotated[
        bool, typer.Option("--with-models", help="Delete the models that they made, too.")
    ] = False,
) -> None:
    """Delete jobs that have ended and their files for good, a comparison with all its jobs.

    Refused while a model that it made is there (see --with-models), or something that has not ended needs it.
    One that is refused does not keep the others; the exit status is that of the first refusal.
    """
    from fdkd_client.errors import ConflictError, NotFoundError

    status = exit_codes.SUCCEEDED
    with connect() as client:
        for job in jobs:
            try:
                client.jobs.delete(job, with_models=with_models)
            except (ConflictError, NotFoundError) as error:
                show_error(error)
                if "models" in error.extensions:
                    say(f"To delete these, too: fdkd jobs rm {plain(job)} --with-models")
                status = status or exit_codes.of_error(error)
            else:
                say(f"Deleted {plain(job)}.")
    raise typer.Exit(status)


@app.command()
def retry(
    job: JobId,
    wait: Wait = False,
    timeout: Timeout = None,
    idempotency_key: Key = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a new job that goes on where a failed or cancelled one stopped."""
    require_wait(timeout, wait)
    with connect() as client:
        _warn_of_the_same_end(client.jobs.get(job))
        found = client.jobs.retry(job, idempotency_key=idempotency_key)
        if found.parent_id is not None:
            say(f"It is part of a comparison, which is repeated with it: {plain(found.parent_id)}")
        _after_creation(client, found, wait, timeout, output)


@contextmanager
def _missing_parts_reject() -> Iterator[None]:
    """A dataset or model that is not there is a fault of the spec, not of the command line."""
    from fdkd_client.errors import NotFoundError

    try:
        yield
    except NotFoundError as error:
        show_error(error)
        raise typer.Exit(exit_codes.REJECTED) from None


def _parse(path: Path) -> AnyJobSpec:
    """The spec, checked before anything is sent."""
    from fdkd_client.errors import LocalFileError
    from fdkd_core.errors import SpecError
    from fdkd_core.spec import parse_spec

    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise LocalFileError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return parse_spec(content)
    except SpecError as error:
        name = "What came on stdin" if str(path) == "-" else str(path)
        show_problems(f"{name} is not a valid spec:", error.problems)
        raise typer.Exit(exit_codes.REJECTED) from None


def _notes(pairs: list[str]) -> dict[str, str]:
    notes = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not (name and separator):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--metadata")
        notes[name] = value
    return notes


def _validate(client: Client, spec: AnyJobSpec, notes: dict[str, str], output: Output) -> None:
    found = client.jobs.validate(spec, metadata=notes)
    if output is Output.JSON:
        show_json(found)
    else:
        parameters = (
            f"; the student has {found.student_parameters:,} parameters" if found.student_parameters else ""
        )
        show_line(f"valid: it could start now{parameters}")
        if found.student_trainings:
            after = f", after {found.teacher_trainings} of a teacher" if found.teacher_trainings else ""
            students = count(found.student_trainings, "training")
            show_line(f"cost: up to {students} of a student{after}")
    for warning in found.warnings:
        say(f"[yellow]warning:[/] {plain(warning)}")


def _after_creation(client: Client, job: Job, wait: bool, timeout_s: float | None, output: Output) -> None:
    if wait:
        say(f"[bold]{plain(job.name)}[/]  {job.id}")
        _wait(client, job.id, timeout_s, output)
        return
    say(f"Created; follow it with: fdkd jobs watch {job.id}")
    show_json(job) if output is Output.JSON else show_line(job.id)


def _warn_of_the_same_end(job: Job) -> None:
    """Retrying is for what can go better another time; the server takes any job, as it may know less."""
    if job.error is not None and job.error.retryable is False:
        say(
            f"[yellow]warning:[/] the job failed for a reason of its own ({plain(job.error.code)}); the same "
            "spec on the same data will most likely fail again."
        )


def _wait(client: Client, job_id: str, timeout_s: float | None, output: Output) -> None:
    """Waits for the end of a job, shows it, and exits with what it came to."""
    from fdkd_client.cli.progress import JobProgress, say_away
    from fdkd_client.errors import WaitTimeoutError

    come_back = f"fdkd jobs watch {plain(job_id)}"
    tell_of_no_worker(client)
    try:
        with detach_on_interrupt(come_back), JobProgress() as progress:
            job = client.jobs.wait(job_id, timeout_s=timeout_s, on_update=progress, on_away=say_away)
    except WaitTimeoutError as error:
        say(f"{plain(error)} Come back with: [bold]{come_back}[/]")
        raise typer.Exit(exit_codes.TIMED_OUT) from None
    _show(client, job, output)
    raise typer.Exit(exit_codes.OF_STATE.get(job.state, exit_codes.FAILED))


def _show(client: Client, job: Job, output: Output) -> None:
    if output is Output.JSON:
        show_json(job)
        return
    from fdkd_client.cli.job_tables import job_view

    show(job_view(job, client.jobs.children(job)))
