"""One local server from start to end."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from fdkd_client.discovery import LOCAL_HOSTS
from fdkd_client.serve.records import ServeError, announced, locked
from fdkd_client.serve.supervisor import Child, StopRequest, Supervisor

START_TIMEOUT_S = 60.0
_NEEDED = {
    "service": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "celery", "pydantic_settings"),
    "core": ("torch", "numpy", "safetensors"),
}
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - how to reach it from here


@dataclass(frozen=True)
class Running:
    """What a person is told when the server is up."""

    url: str
    data_dir: Path
    key_file: Path | None
    """None where the server made no key of its own, because others may reach it."""
    workers: int


def default_data_dir() -> Path:
    """Where the service keeps its data unless it is told otherwise."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fdkd"


def check_installed() -> None:
    """Raises where the packages of server or worker are missing, without loading them.

    Raises:
        ServeError: Saying what to install.
    """
    missing = [
        extra
        for extra, modules in _NEEDED.items()
        if any(importlib.util.find_spec(name) is None for name in modules)
    ]
    if missing:
        raise ServeError(
            f"The server is not installed here, only the client. Install it with: "
            f"pip install 'fdkd[{','.join(['client', *missing])}]'"
        )


def serve(
    *,
    host: str,
    port: int,
    data_dir: Path,
    workers: int,
    say: Callable[[str], object],
    on_running: Callable[[Running], object],
) -> bool:
    """Runs API and workers until it is asked to stop.

    Args:
        host: Where to listen.
        port: 0 takes a free one.
        data_dir: Database, uploads, artifacts, key.
        workers: How many worker processes.
        say: Takes news for a person.
        on_running: Called once, when requests are answered.

    Returns:
        Whether it ended because it was asked to.

    Raises:
        ServeError: It cannot start, for instance because the port is taken.
    """
    check_installed()
    data_dir = data_dir.absolute()
    stop = StopRequest()
    with ExitStack() as stack:
        listener = stack.enter_context(closing(_listen(host, port)))
        url = _url(host, listener.getsockname()[1])
        stack.enter_context(locked(data_dir, url))
        supervisor = Supervisor(_environment(host, data_dir, workers), stop, say)
        stack.callback(supervisor.stop)
        stack.callback(_say_stopping, supervisor, say)
        api = Child(
            "the API",
            "service",
            ("api", "--host", host, "--port", str(listener.getsockname()[1]), "--fd", str(listener.fileno())),
            pass_fds=(listener.fileno(),),
            is_essential=True,
        )
        status = supervisor.run_once(Child("the migration", "service", ("migrate",)))
        if status is None:
            return True
        if status != 0:
            raise ServeError(
                f"The database in {data_dir} cannot be brought up to date (exit status {status})."
            )
        supervisor.start(api)
        if not _wait_until_live(url, api, supervisor):
            return True
        for number in range(workers):
            supervisor.start(Child("the worker" if workers == 1 else f"worker {number + 1}", "worker"))
        key_file, key = _read_key(data_dir)
        stack.enter_context(announced(url, key))
        on_running(Running(url, data_dir, key_file, workers))
        return supervisor.watch()


def _say_stopping(supervisor: Supervisor, say: Callable[[str], object]) -> None:
    if supervisor.should_stop:
        say("Stopping: running jobs write a checkpoint. Ctrl-C again kills at once.")


def _listen(host: str, port: int) -> socket.socket:
    """The socket that the API will serve, made here: what is wrong with host or port is known at once."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except socket.gaierror as error:
        raise ServeError(f"The host {host!r} is not one of this machine: {error.strerror}") from None
    except OSError as error:
        if port:
            raise ServeError(
                f"Port {port} of {host} cannot be used: {error.strerror}. Choose another with --port; "
                "0 takes a free one."
            ) from None
        raise ServeError(f"{host} cannot be listened on: {error.strerror}") from None


def _url(host: str, port: int) -> str:
    reachable = _ANY_HOST.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _environment(host: str, data_dir: Path, workers: int) -> dict[str, str]:
    environment = {**os.environ, "FDKD_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("FDKD_ACCESS_LOG", "false")  # a client that waits asks every second
    if host not in LOCAL_HOSTS and host not in _ANY_HOST:
        environment.setdefault("FDKD_ALLOWED_HOSTS", json.dumps([*sorted(LOCAL_HOSTS), host]))
    if workers > 1:
        # Each worker would otherwise take all cores for its trainer.
        threads = max(1, (os.cpu_count() or 1) // workers)
        environment.setdefault("FDKD_TRAINER_THREADS", str(threads))
    return environment


def _wait_until_live(url: str, api: Child, supervisor: Supervisor) -> bool:
    """Waits for the first answer.

    Returns:
        False when the end was asked for meanwhile.

    Raises:
        ServeError: The API ended, or took too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if supervisor.should_stop:
            return False
        assert api.process is not None
        if api.process.poll() is not None:
            raise ServeError(f"The API ended at its start (exit status {api.process.returncode}); see above.")
        if _answers(url):
            return True
        time.sleep(0.05)
    raise ServeError(f"The API did not answer within {START_TIMEOUT_S:g} s.")


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _read_key(data_dir: Path) -> tuple[Path | None, str | None]:
    """The key that the API made for this user, where it made one."""
    path = data_dir / "api-key"
    try:
        return path, path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None, None
