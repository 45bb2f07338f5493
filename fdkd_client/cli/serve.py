"""`fdkd serve`, `fdkd worker`, `fdkd migrate`, `fdkd keys`: the server on this machine.

The server's code is never imported here, only started: where it is not installed, these commands say so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fdkd_client.cli import exit_codes
from fdkd_client.cli.terminal import plain, say, show_line

if TYPE_CHECKING:
    from fdkd_client.serve.launch import Running

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="FDKD_DATA_DIR",
        help="Database, files and key; by default ~/.local/share/fdkd.",
        show_default=False,
    ),
]
keys = typer.Typer(no_args_is_help=True, help="API keys of the server on this machine.")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that train.")] = 1,
) -> None:
    """Run the service here: API and workers, until Ctrl-C.

    Other `fdkd` commands of yours find it by themselves. Ctrl-C lets running jobs write a checkpoint, from
    which they go on at the next start.

    Exit status: 0 stopped as asked, 1 could not run.
    """
    from fdkd_client.serve.launch import default_data_dir
    from fdkd_client.serve.launch import serve as run

    is_stopped = run(
        host=host,
        port=port,
        data_dir=data_dir or default_data_dir(),
        workers=workers,
        say=lambda text: say(plain(text)),
        on_running=_announce,
    )
    say("Stopped.")
    if not is_stopped:
        raise typer.Exit(exit_codes.FAILED)


def worker(data_dir: DataDir = None) -> None:
    """Run one worker in the foreground, for a server that runs elsewhere; FDKD_* settings apply."""
    _become("worker", [], data_dir)


def migrate(data_dir: DataDir = None) -> None:
    """Bring the database up to date; `fdkd serve` does it by itself."""
    _become("service", ["migrate"], data_dir)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose, or what for.", show_default=False)],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write; by default both.", show_default=False)
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="Who owns what it creates: an id, or `new`; by default you.", show_default=False),
    ] = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(min=1, help="How long it is valid; by default until revoked.", show_default=False),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key. It is shown this once."""
    arguments = ["keys", "create", "--name", name]
    for one in scope or ():
        arguments += ["--scope", one]
    if owner is not None:
        arguments += ["--owner", owner]
    if expires_in_days is not None:
        arguments += ["--expires-in-days", str(expires_in_days)]
    _become("service", arguments, data_dir)


@keys.command("ls")
def list_keys(data_dir: DataDir = None) -> None:
    """List keys."""
    _become("service", ["keys", "ls"], data_dir)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY_ID", help="Id (key_...).", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Make a key useless, everywhere within five seconds."""
    _become("service", ["keys", "revoke", key], data_dir)


def _announce(running: Running) -> None:
    show_line(f"FDKD serves {running.url}")
    show_line(f"  data     {running.data_dir}")
    if running.key_file is not None:
        show_line(f"  key      {running.key_file} (`fdkd` finds it by itself)")
    else:
        show_line("  key      make one with: fdkd keys create --name NAME")
    show_line(f"  workers  {running.workers}")
    show_line("Try, in another terminal:")
    show_line("  fdkd datasets create PATH --name NAME --wait")
    show_line("  fdkd jobs run SPEC.yaml --wait")
    sys.stdout.flush()
    say("Ctrl-C stops it; running jobs go on from their checkpoints at the next start.")


def _become(module: str, arguments: list[str], data_dir: Path | None) -> NoReturn:
    """Replaces this process by one of the server's."""
    from fdkd_client.serve.launch import check_installed

    check_installed()
    environment = dict(os.environ)
    if data_dir is not None:
        environment["FDKD_DATA_DIR"] = str(data_dir.absolute())
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606
