"""The client that a command works with, and what Ctrl-C means while it waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from fdkd_client.cli import exit_codes
from fdkd_client.cli.terminal import say

if TYPE_CHECKING:
    from fdkd_client.client import Client


@contextmanager
def connect() -> Iterator[Client]:
    """A client of the configured server."""
    from fdkd_client.client import Client

    with Client() as client:
        yield client


@contextmanager
def detach_on_interrupt(come_back: str) -> Iterator[None]:
    """Lets Ctrl-C end the wait and not the work.

    Args:
        come_back: The command that takes up the wait again.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nDetached; it goes on without you. Come back with: [bold]{come_back}[/]")
        raise typer.Exit(exit_codes.DETACHED) from None


def require_wait(timeout_s: float | None, wait: bool) -> None:
    """Refuses a longest wait where nothing is waited for, rather than leaving it out."""
    if timeout_s is not None and not wait:
        raise typer.BadParameter("there is nothing to wait for without --wait", param_hint="--timeout")


def tell_of_no_worker(client: Client) -> None:
    """Says that a wait may be a long one, where the server knows of no worker."""
    if client.has_worker() is False:
        say("[yellow]No worker runs at the moment[/]; it waits until one does (`fdkd worker` starts one).")
