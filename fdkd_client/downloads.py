"""Fetching files: in ranges, resumed where they broke off, and believed only when their hash is right."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from fdkd_client.errors import APIError, IntegrityError, LocalFileError, ServerUnreachableError
from fdkd_client.results import Artifact
from fdkd_client.transport import Transport, backoff_s, segment

PATIENCE_S = 60.0
"""How long a download may stand still before it is given up."""
_MAX_NAME_BYTES = 255

OnBytes = Callable[[int], object]
"""Called with the number of bytes that came."""


def safe_name(name: str) -> PurePosixPath:
    """An artifact's name as a path below some folder.

    Raises:
        LocalFileError: It would lead out of the folder, or cannot be a file's name.
    """
    parts = name.split("/")
    for part in parts:
        if (
            part in ("", ".", "..")
            or not part.isprintable()
            or any(character in part for character in '\\:*?"<>|')
            or len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES
        ):
            raise LocalFileError(f"The server names a file {name!a}, which is not written to disk.")
    return PurePosixPath(*parts)


def fetch_artifact(
    transport: Transport,
    job_path: str,
    artifact: Artifact,
    target: Path,
    *,
    on_bytes: OnBytes | None = None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Downloads one file, going on with what an earlier try left beside it.

    Args:
        transport: From where.
        job_path: Of the job.
        artifact: Which file.
        target: Where it appears, complete and checked, or not at all.
        on_bytes: Called as bytes come.
        patience_s: Longest time without a byte.

    Raises:
        IntegrityError: It is not the file that was announced.
        ServerUnreachableError: Nothing came for too long.
        LocalFileError: It cannot be written.
    """
    # With the hash in its name, so that what is left of another file is never taken for a part of this one.
    partial = target.with_name(f".{target.name[:100]}.{artifact.sha256[:16]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        had_part = partial.exists()
        _fetch(transport, job_path, artifact, partial, on_bytes, patience_s)
        found = file_sha256(partial)
        if found != artifact.sha256 and had_part:
            # What lay there may have been spoilt by a crash: once more, from the start.
            partial.unlink()
            _fetch(transport, job_path, artifact, partial, on_bytes, patience_s)
            found = file_sha256(partial)
        if found != artifact.sha256:
            partial.unlink()
            raise IntegrityError(
                f"{artifact.name} arrived with other bytes than announced; it was thrown away."
            )
        partial.replace(target)
    except OSError as error:
        raise LocalFileError(f"{target} cannot be written: {error.strerror or error}") from error


def _fetch(
    transport: Transport,
    job_path: str,
    artifact: Artifact,
    partial: Path,
    on_bytes: OnBytes | None,
    patience_s: float,
) -> None:
    path = f"{job_path}/artifacts/" + "/".join(segment(part) for part in artifact.name.split("/"))
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    last_advance, failures = time.monotonic(), 0
    with open(os.open(partial, flags, 0o644), "r+b") as file:
        while (offset := file.seek(0, os.SEEK_END)) < artifact.size_bytes:
            headers = {"Accept-Encoding": "identity"}
            if offset:
                headers |= {"Range": f"bytes={offset}-", "If-Range": f'"{artifact.sha256}"'}
            try:
                with transport.stream(path, headers=headers) as response:
                    if response.status_code != 206:
                        file.truncate(0)
                        file.seek(0)
                    for block in response.iter_raw():
                        file.write(block)
                        if file.tell() > artifact.size_bytes:
                            raise IntegrityError(f"{artifact.name} is longer than announced.")
                        last_advance, failures = time.monotonic(), 0
                        if on_bytes is not None:
                            on_bytes(len(block))
            except (ServerUnreachableError, APIError) as error:
                if isinstance(error, APIError) and error.status not in (429, 502, 503, 504):
                    raise
                if time.monotonic() - last_advance > patience_s:
                    raise
            file.flush()
            if file.seek(0, os.SEEK_END) < artifact.size_bytes:
                failures += 1
                if time.monotonic() - last_advance > patience_s:
                    raise ServerUnreachableError(f"{artifact.name} keeps arriving incomplete.")
                time.sleep(backoff_s(failures))
        file.truncate(artifact.size_bytes)
        os.fsync(file.fileno())


def fetch_all(
    transport: Transport,
    job_path: str,
    artifacts: Iterable[Artifact],
    folder: Path,
    on_progress: Callable[[int, int], object] | None,
) -> tuple[Path, ...]:
    """Downloads files by their names below a folder; what is there already is left.

    Args:
        transport: From where.
        job_path: Of the job.
        artifacts: Which files.
        folder: Made when absent.
        on_progress: Called with bytes that came and bytes in all.

    Raises:
        LocalFileError: A name leads elsewhere, a file cannot be written, or another one has its name.
        IntegrityError, ServerUnreachableError: See `fetch_artifact`.
    """
    targets = {folder / safe_name(artifact.name): artifact for artifact in artifacts}
    total = sum(artifact.size_bytes for artifact in targets.values())
    come = 0

    def count(size: int) -> None:
        nonlocal come
        come += size
        if on_progress is not None:
            on_progress(min(come, total), total)

    for path, artifact in targets.items():
        if path.is_symlink() or path.exists():
            if path.is_symlink() or not path.is_file() or file_sha256(path) != artifact.sha256:
                raise LocalFileError(f"{path} is there already and is another file; name another folder.")
            count(artifact.size_bytes)
        else:
            fetch_artifact(transport, job_path, artifact, path, on_bytes=count)
    return tuple(targets)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
