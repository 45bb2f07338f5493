"""Jobs of the service: `client.jobs`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fdkd_client.downloads import fetch_all
from fdkd_client.errors import RejectedError
from fdkd_client.event_stream import follow
from fdkd_client.pages import iterate, iterate_history, read
from fdkd_client.results import Artifact, Job, JobEvent, LogLine, Metric, Validation
from fdkd_client.transport import READ_TIMEOUT_S, Transport, segment
from fdkd_client.waiting import PATIENCE_S, OnAway, wait
from fdkd_core.errors import quote


class Spec(Protocol):
    """A parsed spec: `fdkd_core.spec.parse_spec` returns one."""

    def model_dump(self, *, mode: str, exclude_unset: bool) -> dict[str, Any]:
        """As JSON."""


class Jobs:
    """Jobs of the caller."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        spec: Mapping[str, Any] | Spec,
        *,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Creates a job.

        Args:
            spec: What to do, as in a spec file.
            metadata: Notes of the caller's own.
            idempotency_key: Two calls with the same key make one job. By default a random one, so that a
                call whose answer gets lost is repeated without harm.

        Raises:
            RejectedError: The spec is not valid, or does not fit dataset and teacher; see its `problems`. Or
                the key is empty or not ASCII.
        """
        headers = _key(idempotency_key)
        return read(Job, self._transport.json("POST", "jobs", body=_body(spec, metadata), headers=headers))

    def validate(
        self, spec: Mapping[str, Any] | Spec, *, metadata: Mapping[str, str] | None = None
    ) -> Validation:
        """Does every check of `create`, and creates nothing.

        Raises:
            RejectedError: As `create` would.
        """
        answer = self._transport.json(
            "POST",
            "jobs",
            params={"validate_only": "true"},
            body=_body(spec, metadata),
            is_repeatable=True,
        )
        return read(Validation, answer)

    def get(self, job_id: str) -> Job:
        """Looks at one."""
        return read(Job, self._transport.json("GET", _path(job_id)))

    def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        dataset_id: str | None = None,
        parent_id: str | None = None,
        include_children: bool = False,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Newest first; all of them unless there is a limit.

        The jobs that a comparison is made of are left out, unless `parent_id` names it or `include_children`
        asks for all.
        """
        filters = {
            "state": state, "kind": kind, "name": name, "dataset_id": dataset_id, "parent_id": parent_id,
            "include_children": "true" if include_children else None,
        }  # fmt: skip
        return iterate(self._transport, "jobs", Job, filters, limit)

    def children(self, job: Job) -> tuple[Job, ...]:
        """The jobs that a comparison is made of, in the order in which they are started.

        Those that it took over from the comparison that it repeats come first.
        """
        if job.children is None:
            return ()
        own = tuple(self.list(parent_id=job.id))
        # By id, as their own list is: PostgreSQL keeps the names of an object by their length.
        adopted = sorted(job.children.adopted.values())
        return (*(self.get(job_id) for job_id in adopted), *reversed(own))

    def wait(
        self,
        job: Job | str,
        *,
        timeout_s: float | None = None,
        on_update: Callable[[Job], object] | None = None,
        on_away: OnAway | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Job:
        """Waits until the job has ended, in whatever way: look at its `state`.

        Args:
            job: Or its id.
            timeout_s: Longest wait; None waits for ever.
            on_update: Called whenever something of it has changed.
            on_away: Called with the reason once the server has not answered for some seconds, and with None
                once it answers again.
            patience_s: How long the server may be away.

        Raises:
            WaitTimeoutError: It took longer; the job goes on.
        """
        look = _Look(self._transport, job if isinstance(job, str) else job.id)
        return wait(
            look,
            lambda seen: seen.is_terminal,
            lambda seen: f"The job {seen.id} is still {seen.state}",
            timeout_s=timeout_s,
            on_update=on_update,
            on_away=on_away,
            patience_s=patience_s,
        )

    def events(
        self, job_id: str, *, after: int | None = None, on_away: OnAway | None = None
    ) -> Iterator[JobEvent]:
        """What happens to a job, as it happens, until it has ended; lost connections are made again.

        The last word is not in here: look at the job afterwards.

        Args:
            job_id: Whose.
            after: Id of the last event that is known already.
            on_away: As of `wait`.
        """
        return follow(self._transport, _path(job_id), after, on_away=on_away)

    def metrics(
        self, job_id: str, *, phase: str | None = None, kind: str | None = None, after: int | None = None
    ) -> Iterator[Metric]:
        """Figures of training so far, oldest first."""
        filters = {"phase": phase, "kind": kind}
        return iterate_history(self._transport, f"{_path(job_id)}/metrics", Metric, filters, after)

    def logs(self, job_id: str, *, after: int | None = None) -> Iterator[LogLine]:
        """Lines written so far, oldest first."""
        return iterate_history(self._transport, f"{_path(job_id)}/logs", LogLine, {}, after)

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """Files that a succeeded job made."""
        answer = self._transport.json("GET", f"{_path(job_id)}/artifacts")
        return tuple(read(Artifact, entry) for entry in answer.get("data", ()))

    def download_artifacts(
        self,
        job_id: str,
        folder: str | os.PathLike[str],
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> tuple[Path, ...]:
        """Downloads every file that a job made, by its name below a folder.

        A file that is there with these very bytes is left as it is, so a call that was stopped goes on where
        it was.

        Args:
            job_id: Whose.
            folder: Made when absent.
            on_progress: Called with bytes that came and bytes in all.

        Returns:
            The files, in the order of their names.

        Raises:
            LocalFileError: A file cannot be written, or another one is there.
            IntegrityError: What came is not what was announced.
        """
        return fetch_all(self._transport, _path(job_id), self.artifacts(job_id), Path(folder), on_progress)

    def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job. A running one stops at its next step: see `wait`.

        Raises:
            ConflictError: It has succeeded or failed already.
        """
        return read(Job, self._transport.json("POST", f"{_path(job_id)}/cancel", is_repeatable=True))

    def delete(self, job_id: str, *, with_models: bool = False) -> None:
        """Deletes a job that has ended for good, with its files; a comparison with all its jobs.

        Args:
            job_id: Which.
            with_models: Delete the models that it made, too; without this they must have been deleted before.

        Raises:
            ConflictError: It has not ended, is part of a comparison, or something needs what it made.
        """
        params = {"with_models": "true" if with_models else None}
        self._transport.request("DELETE", _path(job_id), params=params)

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Makes a new job of a failed or cancelled one, which goes on from its checkpoint.

        Part of a comparison is repeated with it; what is returned is the new part.

        Raises:
            ConflictError: It, or the comparison that it is part of, has not ended; or it has succeeded.
        """
        headers = _key(idempotency_key)
        return read(Job, self._transport.json("POST", f"{_path(job_id)}/retry", headers=headers))


class _Look:
    """Looks at a job again and again; costs the server next to nothing while nothing has changed."""

    def __init__(self, transport: Transport, job_id: str) -> None:
        self._transport = transport
        self._path = _path(job_id)
        self._etag: str | None = None
        self._seen: Job | None = None

    def __call__(self, timeout_s: float = READ_TIMEOUT_S) -> Job:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        response = self._transport.request("GET", self._path, headers=headers, tries=1, timeout_s=timeout_s)
        if response.status_code == 304 and self._seen is not None:
            return self._seen
        self._etag = response.headers.get("etag")
        self._seen = read(Job, self._transport.as_object(response))
        return self._seen


def _key(given: str | None) -> dict[str, str]:
    if given is None:
        return {"Idempotency-Key": uuid.uuid4().hex}
    # An empty one is not left out: whoever gives a key, maybe of a variable that is not set, relies on it.
    if not (given and given.isascii() and given.isprintable()):
        detail = f"The idempotency key {quote(given)} is none: it needs printable ASCII characters."
        raise RejectedError(400, "invalid_idempotency_key", detail)
    return {"Idempotency-Key": given}


def _path(job_id: str) -> str:
    return f"jobs/{segment(job_id)}"


def _body(spec: Mapping[str, Any] | Spec, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    # Only what was written: defaults are the server's, and it fills in the same ones.
    document = dict(spec) if isinstance(spec, Mapping) else spec.model_dump(mode="json", exclude_unset=True)
    return {"spec": document, **({"metadata": dict(metadata)} if metadata else {})}
