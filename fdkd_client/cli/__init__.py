"""The command `fdkd`. A file for each group of commands; what exit statuses mean is in `exit_codes`."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from fdkd_client.cli import catalog, datasets, exit_codes, jobs, models, serve, students, usage
from fdkd_client.cli.terminal import plain, say, show_error, show_line
from fdkd_client.errors import FDKDClientError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

app = typer.Typer(
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("migrate")(serve.migrate)
app.add_typer(serve.keys, name="keys")
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(students.app, name="students")
app.command("catalog")(catalog.catalog)
app.command("usage")(usage.usage)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        show_line(f"fdkd {version('fdkd')}")
        raise typer.Exit


@app.callback()
def fdkd(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the release and exit."),
    ] = False,
) -> None:
    """Cross-modal knowledge distillation that tells you whether it helped.

    FDKD_URL and FDKD_API_KEY, or ~/.config/fdkd/config.toml with `url` and `api_key`, name the server;
    against a local `fdkd serve` nothing needs setting.

    Exit status: 0 succeeded, 1 failed, 2 usage, 3 cancelled, 4 wait timed out, 5 rejected, 6 key or quota,
    7 server unreachable, 130 detached by Ctrl-C.
    """


def main() -> None:
    """Runs the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A name that a terminal of another encoding cannot show is shown by its codes, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not by the interpreter as it ends
    except FDKDClientError as error:
        show_error(error)
        sys.exit(exit_codes.of_error(error))
    except KeyboardInterrupt:
        say("\nInterrupted.")
        sys.exit(exit_codes.DETACHED)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _write_no_more()
        sys.exit(exit_codes.FAILED)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _write_no_more()
        with suppress(OSError):  # of stderr, where that is full too
            say(f"[bold red]error:[/] the output cannot be written: {plain(error.strerror)}")
        # Not 1: what the command was asked to do may well be done.
        sys.exit(exit_codes.USAGE)


def _write_no_more() -> None:
    """What is left of the output goes nowhere: at the end the interpreter would try once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
