"""The service from the command line.

    python -m service api [--host 127.0.0.1] [--port 8000] [--fd N]
    python -m service migrate
    python -m service keys create --name NAME [--scope read] [--scope write] [--owner OWNER]
        [--expires-in-days N]
    python -m service keys ls
    python -m service keys revoke ID
    python -m service openapi

Settings come from `FDKD_*` variables; see `service/settings.py`. What is asked for goes to standard output,
all else to standard error.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from fdkd_core.errors import visible
from service import schema
from service.context import Context, open_context
from service.db import Database
from service.errors import NotFoundError
from service.identifiers import is_id, new_id
from service.logs import configure_logging
from service.scopes import LOCAL_OWNER, SCOPES
from service.settings import Settings

if TYPE_CHECKING:
    from service.tables import ApiKey

MAX_DAYS = 3650
"""For which a key is valid, if it is to expire at all."""


class StartError(Exception):
    """The command cannot be carried out; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out one command.

    Returns:
        The exit code: 0, or 1 with a message on standard error.
    """
    options = _parser().parse_args(arguments)
    configure_logging()
    os.umask(0o077)  # whatever is made here is for the service alone
    try:
        options.run(options, Settings())
    except (StartError, schema.SchemaError, NotFoundError) as error:
        return _fail(str(error))
    except ValidationError as error:
        wrong = "; ".join(
            f"FDKD_{'.'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        )
        return _fail(f"a setting cannot be used: {wrong}")
    except SQLAlchemyError as error:
        return _fail(f"the database does not work: {getattr(error, 'orig', None) or error}")
    return 0


def serve(options: argparse.Namespace, settings: Settings) -> NoReturn:
    """Serves the API until SIGTERM or SIGINT; prints one line when it is ready."""
    if not settings.access_log:
        logging.getLogger("fdkd.access").setLevel(logging.WARNING)
    context = open_context(settings)
    try:
        schema.require_current(context.database)
        listener = _listen(options.host, options.port, options.fd)
        _check_keys(context, listener)
    finally:
        context.close()

    def say_ready() -> None:
        _say(f"FDKD API listens on {_address(listener)}")

    # What only one command needs is imported there: `fdkd serve` migrates first, and waits for it.
    from service.app import create_app
    from service.server import Server

    server = Server(create_app(settings), on_ready=say_ready)
    # uvicorn raises the signal again when it has finished; having finished is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    # Not return: a thread that still waits for the database would keep the process for its timeout.
    sys.stdout.flush()
    os._exit(0 if server.started else 1)


def migrate(options: argparse.Namespace, settings: Settings) -> None:
    """Creates the tables or brings them up to date."""
    settings.make_folders()
    schema.migrate(settings.resolved_database_url)


def create_key(options: argparse.Namespace, settings: Settings) -> None:
    """Makes a key and prints it, once."""
    owner = new_id("own") if options.owner == "new" else options.owner
    if not is_id(owner, "own"):
        raise StartError("an owner is an id such as `keys ls` shows, or `new` for a new one")
    from service import keys

    with _opened(settings) as database:
        key = keys.create(
            database,
            owner_id=owner,
            name=options.name,
            scopes=options.scope or list(SCOPES),
            expires_in=None if options.expires_in_days is None else timedelta(days=options.expires_in_days),
        )
    sys.stderr.write(f"key of {owner}; it is not kept and cannot be shown again:\n")
    _say(key)


def list_keys(options: argparse.Namespace, settings: Settings) -> None:
    """Prints a line for each key: aligned below a heading on a terminal, else with tabs between."""
    from service import keys

    with _opened(settings) as database:
        rows = [_described(key) for key in keys.list_all(database)]
    if not sys.stdout.isatty():
        for row in rows:
            _say("\t".join(row))
        return
    rows = [("id", "owner", "scopes", "created", "state", "name"), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(map(str.ljust, row, widths)).rstrip())


def _described(key: ApiKey) -> tuple[str, ...]:
    state = "active"
    if key.revoked_at:
        state = "revoked"
    elif key.expires_at:
        state = f"{'expired' if key.expires_at <= datetime.now(UTC) else 'expires'} {_moment(key.expires_at)}"
    return (key.id, key.owner_id, ",".join(key.scopes), _moment(key.created_at), state, visible(key.name))


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def revoke_key(options: argparse.Namespace, settings: Settings) -> None:
    """Makes a key useless."""
    from service import auth, keys

    with _opened(settings) as database:
        keys.revoke(database, options.id)
    sys.stderr.write(
        f"revoked; a server that has just used it may take it for {auth.REMEMBERED_S:.0f} s more\n"
    )


def print_openapi(options: argparse.Namespace, settings: Settings) -> None:
    """Prints the description of the API, as `tests/golden/openapi.json` holds it."""
    from service import openapi
    from service.app import create_app

    sys.stdout.write(openapi.as_text(create_app(settings)))


def _check_keys(context: Context, listener: socket.socket) -> None:
    """Makes the local key, or refuses to listen where others can connect before anybody has one."""
    from service import keys

    host = listener.getsockname()[0] if listener.family in (socket.AF_INET, socket.AF_INET6) else None
    if host is None or ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        keys.ensure_local_key(context)
    elif not keys.has_active_key(context.database):
        raise StartError(
            f"refusing to listen on {host}, where others can connect, before there is a key: "
            "make one with `python -m service keys create --name NAME`"
        )


def _listen(host: str, port: int, descriptor: int | None) -> socket.socket:
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def _address(listener: socket.socket) -> str:
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """The database, if its tables are those of this version."""
    settings.make_folders()
    database = Database(settings.resolved_database_url)
    try:
        schema.require_current(database)
        yield database
    finally:
        database.close()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


def _not_blank(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a key without a name could not be told from others")
    return text


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="FDKD's HTTP API and its upkeep.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    api = commands.add_parser("api", help="serve the API")
    api.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    api.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    api.add_argument("--fd", type=int, help="a socket that is bound already, instead of host and port")
    api.set_defaults(run=serve)

    commands.add_parser("migrate", help="create or update the tables").set_defaults(run=migrate)

    key_commands = commands.add_parser("keys", help="make, list and revoke API keys").add_subparsers(
        required=True, metavar="COMMAND"
    )
    create = key_commands.add_parser("create", help="make a key and show it, once")
    create.add_argument("--name", type=_not_blank, required=True, help="what it is for")
    create.add_argument("--scope", action="append", choices=list(SCOPES), help="repeat; default: all")
    create.add_argument("--owner", default=LOCAL_OWNER, help="whose; `new` makes an owner (default: yours)")
    create.add_argument("--expires-in-days", type=_days, help="how long it is valid (default: until revoked)")
    create.set_defaults(run=create_key)
    key_commands.add_parser("ls", help="list keys").set_defaults(run=list_keys)
    revoke = key_commands.add_parser("revoke", help="make a key useless")
    revoke.add_argument("id", help="as `keys ls` shows it")
    revoke.set_defaults(run=revoke_key)

    commands.add_parser("openapi", help="print the API's description").set_defaults(run=print_openapi)
    return parser


if __name__ == "__main__":
    sys.exit(main())
