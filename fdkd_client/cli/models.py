"""`fdkd models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fdkd_client.cli import exit_codes
from fdkd_client.cli.connection import connect, detach_on_interrupt, require_wait, tell_of_no_worker
from fdkd_client.cli.terminal import Output, OutputOption, say, show, show_json, show_line

if TYPE_CHECKING:
    from fdkd_client.results import Model

app = typer.Typer(no_args_is_help=True, help="Models that may teach: uploaded, or made by jobs.")

Reference = Annotated[str, typer.Argument(metavar="MODEL", help="Id (mdl_...) or name.", show_default=False)]


@app.command("ls")
def list_models(
    source: Annotated[str | None, typer.Option(help="Where they come from.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List models."""
    with connect() as client:
        found = list(client.models.list(source=source, limit=limit))
    if output is Output.JSON:
        show_json(found)
    elif not found:
        say("No models yet. Every job makes one, and `fdkd models upload` brings one's own.")
    else:
        from fdkd_client.cli.data_tables import models_table

        show(models_table(found))


@app.command("show")
def show_model(model: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a model."""
    with connect() as client:
        _show(client.models.find(model), output)


@app.command()
def upload(
    path: Annotated[
        Path,
        typer.Argument(
            help="Weights as .safetensors, an .onnx file, or a folder or .zip: a bundle, or one of the hub.",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="What jobs will call it.", show_default=False)],
    architecture: Annotated[
        str | None,
        typer.Option(
            help='For .safetensors: a name, or JSON such as {"name": "mlp", "width": 64}.', show_default=False
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is validated.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Longest wait in seconds.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Upload a model, so that it may teach.

    Exit status: 0 ready (or without --wait, uploaded), 4 still validating after the timeout, 5 invalid.
    """
    from fdkd_client.cli.progress import BytesProgress, Waiting, say_away

    require_wait(timeout, wait)
    parsed = _architecture(architecture)
    with connect() as client:
        with BytesProgress("uploading") as progress:
            model = client.models.upload(path, name, architecture=parsed, on_progress=progress)
        if not wait:
            say(f"Uploaded; being validated: fdkd models show {model.id}")
            show_json(model) if output is Output.JSON else show_line(model.id)
            return
        tell_of_no_worker(client)
        with detach_on_interrupt(f"fdkd models show {model.id}"), Waiting("validating"):
            model = client.models.wait(model, timeout_s=timeout, on_away=say_away)
    _show(model, output)
    if model.state != "ready":
        raise typer.Exit(exit_codes.REJECTED)


@app.command("rm")
def remove(model: Reference) -> None:
    """Delete a model for good; refused while a job needs it."""
    with connect() as client:
        found = client.models.find(model)
        client.models.delete(found.id)
    say(f"Deleted {found.id}.")
    if found.job_id is not None:
        say(f"Its files are still artifacts of its job: fdkd jobs rm {found.job_id}")


def _architecture(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if not text.lstrip().startswith("{"):
        return {"name": text}
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--architecture") from None
    return dict(parsed)


def _show(model: Model, output: Output) -> None:
    if output is Output.JSON:
        show_json(model)
        return
    from fdkd_client.cli.data_tables import model_view

    show(model_view(model))
