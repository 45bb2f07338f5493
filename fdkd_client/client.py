"""`Client`: one server, everything it offers."""

from __future__ import annotations

from typing import Self

from fdkd_client.datasets import Datasets
from fdkd_client.discovery import Server, find_server
from fdkd_client.errors import FDKDClientError
from fdkd_client.jobs import Jobs
from fdkd_client.models import Models
from fdkd_client.pages import read
from fdkd_client.results import Catalog, Usage, Version
from fdkd_client.students import Students
from fdkd_client.transport import Transport


class Client:
    """Speaks with an FDKD server. For one thread at a time; close it, or use it in a `with` statement."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        """Finds the server; asks it nothing yet.

        Args:
            url: Such as `http://127.0.0.1:8000`. By default what FDKD_URL, the configuration
                file or the local `fdkd serve` says.
            api_key: By default what FDKD_API_KEY says, or what is stored for that server.

        Raises:
            NoServerError: None is named, and none runs here.
            ConfigurationError: What names it cannot be used.
        """
        self.server: Server = find_server(url, api_key)
        self._transport = Transport(self.server)
        self.datasets = Datasets(self._transport)
        self.models = Models(self._transport)
        self.jobs = Jobs(self._transport)
        self.students = Students(self._transport, self.jobs)

    def catalog(self) -> Catalog:
        """Architectures, methods, modality kinds, tasks and limits of the server."""
        return read(Catalog, self._transport.json("GET", "catalog"))

    def version(self) -> Version:
        """Release of the server."""
        return read(Version, self._transport.json("GET", "version"))

    def has_worker(self) -> bool | None:
        """Whether a worker runs that would validate and train; None where the server does not say."""
        try:
            ready = self._transport.json("GET", f"{self.server.url}/readyz", tries=1)
        except FDKDClientError:
            return None
        checks = ready.get("checks")
        found = checks.get("workers") if isinstance(checks, dict) else None
        return {"ok": True, "none": False}.get(str(found))

    def usage(self) -> Usage:
        """What the caller keeps on the server, and how much that may be."""
        return read(Usage, self._transport.json("GET", "usage"))

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
