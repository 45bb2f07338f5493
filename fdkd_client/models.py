"""Models of the service, which may teach: `client.models`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fdkd_client.archive import uploadable
from fdkd_client.before_sending import require_free_name, require_model_file
from fdkd_client.errors import NotFoundError
from fdkd_client.pages import iterate, read
from fdkd_client.results import Model
from fdkd_client.transport import READ_TIMEOUT_S, Transport, segment
from fdkd_client.uploads import OnBytes, create_from_upload, send_file
from fdkd_client.waiting import OnAway, wait
from fdkd_core.errors import quote


class Models:
    """Models of the caller: uploaded, or made by jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        architecture: Mapping[str, Any] | None = None,
        on_progress: OnBytes | None = None,
    ) -> Model:
        """Uploads weights or a bundle; the server then validates it: see `wait`.

        Args:
            path: A .safetensors or .onnx file, or a student bundle or a Hugging Face folder (config.json,
                model.safetensors), as a folder or .zip.
            name: What jobs will call it.
            architecture: As in a spec, such as `{"name": "mlp", "width": 64}`; needed for .safetensors.
            on_progress: Called with bytes sent and bytes in all.

        Raises:
            LocalFileError: It cannot be read, or has links in it.
            APIError: The server refused, or would: the name is taken, or the file of no known format. What
                was sent is forgotten.
        """
        require_free_name(self._transport, "models", name)
        with uploadable(path) as file:
            require_model_file(file)
            upload = send_file(self._transport, file, on_progress=on_progress)
        body: dict[str, Any] = {"name": name, "upload_id": upload.id}
        if architecture is not None:
            body["architecture"] = json.loads(json.dumps(dict(architecture)))

        def find() -> dict[str, Any] | None:
            for found in self.list(name=name):
                if found.sha256 == upload.sha256:
                    return found.model_dump(mode="json")
            return None

        return read(Model, create_from_upload(self._transport, "models", body, find))

    def get(self, model_id: str, *, tries: int = 5, timeout_s: float = READ_TIMEOUT_S) -> Model:
        """Looks at one."""
        path = f"models/{segment(model_id)}"
        return read(Model, self._transport.json("GET", path, tries=tries, timeout_s=timeout_s))

    def find(self, reference: str) -> Model:
        """Looks at one by id or name.

        Raises:
            NotFoundError: There is none.
        """
        try:
            return self.get(reference)
        except NotFoundError as error:
            for found in self.list(name=reference, limit=1):
                return self.get(found.id)
            detail = f"There is no model {quote(reference)}: no id and no name of yours."
            raise NotFoundError(error.status, error.code, detail, request_id=error.request_id) from None

    def list(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        source: str | None = None,
        job_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Model]:
        """Newest first; all of them unless there is a limit."""
        filters = {"state": state, "name": name, "source": source, "job_id": job_id}
        return iterate(self._transport, "models", Model, filters, limit)

    def delete(self, model_id: str) -> None:
        """Deletes it for good.

        Raises:
            ConflictError: A job that has not ended uses it.
        """
        self._transport.request("DELETE", f"models/{segment(model_id)}")

    def wait(
        self,
        model: Model | str,
        *,
        timeout_s: float | None = None,
        on_update: Callable[[Model], object] | None = None,
        on_away: OnAway | None = None,
    ) -> Model:
        """Waits until it is validated: `ready`, or `invalid` with the reasons in `error`.

        Args:
            model: Or its id.
            timeout_s: Longest wait; None waits for ever.
            on_update: Called whenever something of it has changed.
            on_away: Called with the reason once the server has not answered for some seconds, and with None
                once it answers again.

        Raises:
            WaitTimeoutError: It took longer.
        """
        model_id = model if isinstance(model, str) else model.id
        return wait(
            lambda seconds: self.get(model_id, tries=1, timeout_s=seconds),
            lambda seen: seen.state != "validating",
            lambda seen: f"The model {seen.name} is still {seen.state}",
            timeout_s=timeout_s,
            on_update=on_update,
            on_away=on_away,
        )
