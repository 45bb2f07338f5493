"""Datasets of the service: `client.datasets`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from fdkd_client.archive import uploadable_dataset
from fdkd_client.before_sending import require_dataset_file, require_free_name
from fdkd_client.errors import NotFoundError
from fdkd_client.pages import iterate, read
from fdkd_client.results import Dataset
from fdkd_client.transport import READ_TIMEOUT_S, Transport, segment
from fdkd_client.uploads import OnBytes, create_from_upload, send_file
from fdkd_client.waiting import OnAway, wait
from fdkd_core.errors import quote


class Datasets:
    """Paired data of the caller."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, path: str | os.PathLike[str], name: str, *, on_progress: OnBytes | None = None
    ) -> Dataset:
        """Uploads a file, or a folder as a zip; the server then validates it: see `wait`.

        Args:
            path: A folder, .zip, .tar, .npz or .parquet. A file with a `<stem>.dataset.yaml` beside it goes
                as a zip with that.
            name: What jobs will call it.
            on_progress: Called with bytes sent and bytes in all.

        Raises:
            LocalFileError: It cannot be read, or has links in it.
            APIError: The server refused, or would: the name is taken, or the file of no known format. What
                was sent is forgotten.
        """
        require_free_name(self._transport, "datasets", name)
        with uploadable_dataset(path) as file:
            require_dataset_file(file)
            upload = send_file(self._transport, file, on_progress=on_progress)
        body = {"name": name, "upload_id": upload.id}

        def find() -> dict[str, Any] | None:
            for found in self.list(name=name):
                if found.sha256 == upload.sha256:
                    return found.model_dump(mode="json")
            return None

        return read(Dataset, create_from_upload(self._transport, "datasets", body, find))

    def get(self, dataset_id: str, *, tries: int = 5, timeout_s: float = READ_TIMEOUT_S) -> Dataset:
        """Looks at one."""
        path = f"datasets/{segment(dataset_id)}"
        return read(Dataset, self._transport.json("GET", path, tries=tries, timeout_s=timeout_s))

    def find(self, reference: str) -> Dataset:
        """Looks at one by id or name.

        Raises:
            NotFoundError: There is none.
        """
        try:
            return self.get(reference)
        except NotFoundError as error:
            for found in self.list(name=reference, limit=1):
                return self.get(found.id)
            detail = f"There is no dataset {quote(reference)}: no id and no name of yours."
            raise NotFoundError(error.status, error.code, detail, request_id=error.request_id) from None

    def list(
        self, *, state: str | None = None, name: str | None = None, limit: int | None = None
    ) -> Iterator[Dataset]:
        """Newest first, without reports; all of them unless there is a limit."""
        return iterate(self._transport, "datasets", Dataset, {"state": state, "name": name}, limit)

    def delete(self, dataset_id: str) -> None:
        """Deletes it for good.

        Raises:
            ConflictError: A job that has not ended uses it.
        """
        self._transport.request("DELETE", f"datasets/{segment(dataset_id)}")

    def wait(
        self,
        dataset: Dataset | str,
        *,
        timeout_s: float | None = None,
        on_update: Callable[[Dataset], object] | None = None,
        on_away: OnAway | None = None,
    ) -> Dataset:
        """Waits until it is validated: `ready`, or `invalid` with the reasons in `error`.

        Args:
            dataset: Or its id.
            timeout_s: Longest wait; None waits for ever.
            on_update: Called whenever something of it has changed.
            on_away: Called with the reason once the server has not answered for some seconds, and with None
                once it answers again.

        Raises:
            WaitTimeoutError: It took longer.
        """
        dataset_id = dataset if isinstance(dataset, str) else dataset.id
        return wait(
            lambda seconds: self.get(dataset_id, tries=1, timeout_s=seconds),
            lambda seen: seen.state != "validating",
            lambda seen: f"The dataset {seen.name} is still {seen.state}",
            timeout_s=timeout_s,
            on_update=on_update,
            on_away=on_away,
        )
