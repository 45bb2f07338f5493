"""`fdkd datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fdkd_client.cli import exit_codes
from fdkd_client.cli.connection import connect, detach_on_interrupt, require_wait, tell_of_no_worker
from fdkd_client.cli.terminal import Output, OutputOption, plain, say, show, show_json, show_line

if TYPE_CHECKING:
    from fdkd_client.client import Client
    from fdkd_client.results import Dataset

app = typer.Typer(no_args_is_help=True, help="Paired data: upload, look at, delete.")

Reference = Annotated[str, typer.Argument(metavar="DATASET", help="Id (ds_...) or name.", show_default=False)]


@app.command()
def create(
    path: Annotated[Path, typer.Argument(help="A folder, .zip, .tar, .npz or .parquet.", show_default=False)],
    name: Annotated[str, typer.Option(help="What jobs will call it.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is validated.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Longest wait in seconds.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Upload a dataset. The server then looks at every row of it.

    A folder is sent as a zip, without names that begin with a dot; links in it are refused. An .npz or
    .parquet that has NAME.dataset.yaml beside it is sent as a zip with that.

    Exit status: 0 ready (or without --wait, uploaded), 4 still validating after the timeout, 5 invalid.
    """
    from fdkd_client.archive import description_of
    from fdkd_client.cli.progress import BytesProgress

    require_wait(timeout, wait)
    description = description_of(path)
    if description is not None:
        say(f"Sending {plain(path.name)} with {plain(description.name)}, as one zip.")
    with connect() as client:
        with BytesProgress("uploading") as progress:
            dataset = client.datasets.create(path, name, on_progress=progress)
        if not wait:
            say(f"Uploaded; being validated: fdkd datasets show {dataset.id}")
            show_json(dataset) if output is Output.JSON else show_line(dataset.id)
            return
        dataset = _wait(client, dataset, timeout)
    _show(dataset, output)
    if dataset.state != "ready":
        raise typer.Exit(exit_codes.REJECTED)


@app.command("ls")
def list_datasets(
    state: Annotated[
        str | None, typer.Option(help="validating, ready or invalid.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List datasets."""
    with connect() as client:
        found = list(client.datasets.list(state=state, limit=limit))
    if output is Output.JSON:
        show_json(found)
    elif not found:
        say("No datasets yet. Upload one: fdkd datasets create PATH --name NAME --wait")
    else:
        from fdkd_client.cli.data_tables import datasets_table

        show(datasets_table(found))


@app.command("show")
def show_dataset(dataset: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show what is in a dataset, or what is wrong with it."""
    with connect() as client:
        _show(client.datasets.find(dataset), output)


@app.command("rm")
def remove(dataset: Reference) -> None:
    """Delete a dataset for good; refused while a job needs it. Jobs that read it can then not be retried."""
    with connect() as client:
        found = client.datasets.find(dataset)
        client.datasets.delete(found.id)
    say(f"Deleted {found.id}. Jobs that have read it keep what they made, and cannot be retried.")


def _wait(client: Client, dataset: Dataset, timeout_s: float | None) -> Dataset:
    from fdkd_client.cli.progress import Waiting, say_away

    tell_of_no_worker(client)
    with detach_on_interrupt(f"fdkd datasets show {dataset.id}"), Waiting("validating"):
        return client.datasets.wait(dataset, timeout_s=timeout_s, on_away=say_away)


def _show(dataset: Dataset, output: Output) -> None:
    if output is Output.JSON:
        show_json(dataset)
        return
    from fdkd_client.cli.data_tables import dataset_view

    show(dataset_view(dataset))
