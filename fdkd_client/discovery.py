"""Which server to talk to, and with which key.

In this order: arguments, `FDKD_URL` and `FDKD_API_KEY`, `$XDG_CONFIG_HOME/fdkd/config.toml`, the file that
a local `fdkd serve` keeps while it runs. A key that was stored for one server is never sent to another.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fdkd_client.errors import ConfigurationError, NoServerError

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
"""As the host of a URL."""


@dataclass(frozen=True)
class Server:
    """Where requests go."""

    url: str
    """Without a slash at the end."""
    api_key: str | None = field(repr=False)
    source: str
    """Who named it, for messages."""
    pid: int | None = None
    """Of a local server."""

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return urlsplit(self.url).hostname in LOCAL_HOSTS


def config_path() -> Path:
    """The configuration file of this user."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fdkd" / "config.toml"


def local_server_path() -> Path:
    """The file by which a local server is found."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "fdkd/local-server.json"


def find_server(url: str | None = None, api_key: str | None = None) -> Server:
    """The server to talk to.

    Raises:
        NoServerError: None is named anywhere.
        ConfigurationError: A file that names one cannot be used.
    """
    api_key = api_key or os.environ.get("FDKD_API_KEY") or None
    if url:
        return _with_key(_checked_url(url, "the argument `url`"), api_key, "the argument `url`")
    if named := os.environ.get("FDKD_URL"):
        return _with_key(_checked_url(named, "FDKD_URL"), api_key, "FDKD_URL")
    for server in _stored_servers():
        return Server(server.url, api_key or server.api_key, server.source, server.pid)
    raise NoServerError(
        "No server is named. Start one on this machine with `fdkd serve`, or name one: set FDKD_URL and "
        f"FDKD_API_KEY, or write `url` and `api_key` into {config_path()}."
    )


def read_local_server() -> Server | None:
    """The local server that is running, if there is one."""
    path = local_server_path()
    text = _read_private(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
        server = Server(str(content["url"]), content.get("api_key"), "the local server", int(content["pid"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # left behind half written; `fdkd serve` writes it anew
    return server if _is_alive(server.pid) else None


def _stored_servers() -> Iterator[Server]:
    """Servers named by files; the first counts, and later files are only read where there is none."""
    configured = _read_config()
    if configured:
        yield configured
    local = read_local_server()
    if local:
        yield local


def _with_key(url: str, api_key: str | None, source: str) -> Server:
    """The server at an address that came without a key: one that was stored for this very address is used."""
    if api_key is None:
        for stored in _stored_servers():
            if stored.url == url:
                return Server(url, stored.api_key, source, stored.pid)
    return Server(url, api_key, source)


def _read_config() -> Server | None:
    path = config_path()
    text = _read_private(path, only_if_containing="api_key")
    if text is None:
        return None
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    url, api_key = content.get("url"), content.get("api_key")
    unknown = sorted(set(content) - {"url", "api_key"})
    if unknown:
        raise ConfigurationError(f"{path} has unknown settings: {', '.join(unknown)}; allowed: url, api_key")
    if not isinstance(url, str) or not isinstance(api_key, str | None):
        raise ConfigurationError(f"{path} must have `url` and may have `api_key`, both text in quotes")
    return Server(_checked_url(url, str(path)), api_key, str(path))


def _read_private(path: Path, only_if_containing: str = "") -> str | None:
    """The text of a file that holds a key, or None where there is none.

    Raises:
        ConfigurationError: Others may read or change it, it is not a plain file, or cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(1 << 16) if stat.S_ISREG(status.st_mode) else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if only_if_containing in text:
        if status.st_uid != os.getuid():
            raise ConfigurationError(f"{path} holds an API key but belongs to another user; it is not used")
        if status.st_mode & 0o077:
            raise ConfigurationError(
                f"{path} holds an API key that other users of this machine can read (its mode is "
                f"{stat.S_IMODE(status.st_mode):o}). Mend it with: chmod 600 {path}"
            )
    return text


def _checked_url(url: str, source: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    else:
        valid = valid and not (parts.query or parts.fragment or parts.username or parts.password)
    if not valid:
        raise ConfigurationError(f"{source} is {url!r}; it must look like http://127.0.0.1:8000")
    return url.rstrip("/")


def _is_alive(pid: int | None) -> bool:
    if not pid or pid < 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
