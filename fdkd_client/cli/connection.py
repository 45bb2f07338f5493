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
