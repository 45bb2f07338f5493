"""Files to post, forms as bytes, and the proof that a refused request left everything as it was."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from service.db import Database
from service.settings import Settings
from service.tables import Table

BOUNDARY = "boundary-of-a-test"
PART = {"Content-Type": "application/offset+octet-stream"}


def zip_bytes(members: Mapping[str, bytes] | None = None) -> bytes:
    """A zip; without members, one that could be a dataset."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members or {"manifest.csv": b"id,split,label,text\n"}).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def tar_bytes(compression: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        archive.addfile(tarfile.TarInfo("manifest.csv"), io.BytesIO())
    return buffer.getvalue()


def safetensors_bytes(
    tensors: Mapping[str, int] | None = None, header: Any = None, data: bytes = b""
) -> bytes:
    """A safetensors file of F32 tensors by name and length, or with a header of one's own."""
    if header is None:
        header, position = {}, 0
        for name, length in (tensors or {"classifier.bias": 2}).items():
            header[name] = {
                "dtype": "F32",
                "shape": [length],
                "data_offsets": [position, position + 4 * length],
            }
            position += 4 * length
        data = bytes(position)
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def bundle_bytes() -> bytes:
    """A zip with the names of a bundle."""
    return zip_bytes(
        {
            "model.safetensors": safetensors_bytes(),
            "config.json": b"{}",
            "preprocess.json": b"{}",
            "labels.json": b"[]",
        }
    )


def part(name: str, content: bytes, file_name: str | None = None, extra: bytes = b"") -> bytes:
    """One part of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n".encode()
    return head + extra + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def dataset_form(name: str, content: bytes, file_name: str = "data.zip") -> bytes:
    return form(part("name", name.encode()), part("file", content, file_name))


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def check_refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Checks status, code and shape of a problem, and returns it."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) <= 16 << 10
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    return problem


def snapshot(settings: Settings) -> dict[str, Any]:
    """Rows per table, and every stored or arriving file with its SHA-256."""
    database = Database(settings.resolved_database_url)
    with database.read() as session:
        rows = {
            table.name: session.scalar(select(func.count()).select_from(table))
            for table in Table.metadata.sorted_tables
            if table.name not in ("workers", "api_keys")
        }
    database.close()
    return {"rows": rows, "files": files_of(settings)}


def files_of(settings: Settings) -> dict[str, str]:
    return {
        path.relative_to(settings.data_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (settings.storage_dir, settings.uploads_dir)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def nothing_lost(settings: Settings, within_s: float = 0) -> Iterator[None]:
    """Checks that rows, bytes on disk and temporary files are afterwards what they were."""
    before = snapshot(settings)
    yield
    deadline = time.monotonic() + within_s
    while (after := snapshot(settings)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after == before
