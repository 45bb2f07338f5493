"""`fdkd students`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fdkd_client.cli.connection import connect, detach_on_interrupt
from fdkd_client.cli.terminal import plain, say, show_line

app = typer.Typer(no_args_is_help=True, help="What jobs made: take it home.")


@app.callback()
def _group() -> None:
    """Makes this a group though it has one command."""


@app.command()
def download(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of a succeeded job.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to make.", show_default=False)
    ],
) -> None:
    """Download a student. Stopped and called again, it goes on where it was."""
    from fdkd_client.cli.progress import BytesProgress

    command = f"fdkd students download {plain(job)} -o {plain(folder)}"
    with connect() as client, detach_on_interrupt(command), BytesProgress("downloading") as progress:
        found = client.students.download(job, folder, on_progress=progress)
    code = f"import fdkd_core; print(fdkd_core.load_student({str(found)!r}).predict('FILE'))"
    say(f'Use it: python -c "{plain(code)}"')
    show_line(str(found))
