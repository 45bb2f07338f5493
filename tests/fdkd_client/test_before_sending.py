"""What is refused before it is sent, and what becomes of an upload that is refused afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Answer, ScriptedServer, problem

from fdkd_client import Client
from fdkd_client.errors import APIError

ZIP = b"PK\x03\x04" + bytes(60)
EMPTY: dict[str, Any] = {"data": [], "has_more": False, "next_cursor": None}
TAKEN = {**EMPTY, "data": [{"id": "ds_1", "name": "Pairs"}]}


def send(client: Client, what: str, path: Path, name: str) -> Any:
    return client.datasets.create(path, name) if what == "datasets" else client.models.upload(path, name)


@pytest.mark.parametrize("what", ["datasets", "models"])
@pytest.mark.parametrize(
    ("name", "answer", "status", "code"),
    [
        ("pairs", TAKEN, 409, "name_taken"),
        ("", EMPTY, 422, "invalid_name"),
        ("x" * 129, EMPTY, 422, "invalid_name"),
        ("a\u202eb", EMPTY, 422, "invalid_name"),
    ],
)
def test_a_name_is_refused_before_anything_is_sent(
    scripted: ScriptedServer,
    client: Client,
    tmp_path: Path,
    what: str,
    name: str,
    answer: dict[str, Any],
    status: int,
    code: str,
) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(ZIP)
    scripted.on("GET", f"/v1/{what}", Answer(200, answer))
    with pytest.raises(APIError, match="Nothing was sent") as caught:
        send(client, what, path, name)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert scripted.count("POST", "/v1/uploads") == 0


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("Pairs", "ready", "The name 'Pairs' is taken by ds_1. Nothing was sent."),
        ("pairs", "invalid", "The name 'pairs' is taken by ds_1, 'Pairs'; names that differ only in case"),
        ("Pairs", "invalid", "by ds_1, which is invalid: `fdkd datasets rm ds_1` frees the name. Nothing"),
    ],
)
def test_who_has_a_name_is_told(
    scripted: ScriptedServer, client: Client, tmp_path: Path, name: str, state: str, words: str
) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(ZIP)
    scripted.on("GET", "/v1/datasets", Answer(200, {**TAKEN, "data": [{**TAKEN["data"][0], "state": state}]}))
    with pytest.raises(APIError) as caught:
        client.datasets.create(path, name)
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("what", "file_name", "content", "code"),
    [
        ("datasets", "data.zip", b"\x7fELF" + bytes(60), "unsupported_format"),
        ("datasets", "data.parquet", ZIP, "unsupported_format"),
        ("datasets", "data", b"", "unsupported_format"),
        ("models", "teacher.pt", ZIP, "unsafe_format"),
        ("models", "teacher", b"\x80\x04" + bytes(60), "unsafe_format"),
    ],
)
def test_a_file_of_no_known_format_is_not_sent(
    scripted: ScriptedServer,
    client: Client,
    tmp_path: Path,
    what: str,
    file_name: str,
    content: bytes,
    code: str,
) -> None:
    path = tmp_path / file_name
    path.write_bytes(content)
    scripted.on("GET", f"/v1/{what}", Answer(200, EMPTY))
    with pytest.raises(APIError, match="Nothing was sent") as caught:
        send(client, what, path, "new")
    assert caught.value.code == code
    assert scripted.count("POST", "/v1/uploads") == 0


@pytest.mark.parametrize(
    ("refusal", "is_forgotten"),
    [
        (problem(409, "name_taken"), True),
        (problem(422, "unsupported_format"), True),
        (problem(401, "unauthenticated"), False),
        (problem(500, "internal"), False),
    ],
)
@pytest.mark.parametrize("may_look", [True, False])
def test_what_is_refused_for_good_is_forgotten(
    scripted: ScriptedServer,
    client: Client,
    tmp_path: Path,
    refusal: Answer,
    is_forgotten: bool,
    may_look: bool,
) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(ZIP)
    upload = {
        "id": "upl_1", "file_name": "data.zip", "size_bytes": len(ZIP), "offset_bytes": 0, "sha256": "0" * 64,
        "expires_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    scripted.on("GET", "/v1/datasets", Answer(200, EMPTY) if may_look else problem(403, "forbidden"))
    scripted.on("POST", "/v1/uploads", Answer(201, upload))
    scripted.on("PATCH", "/v1/uploads/upl_1", Answer(200, {**upload, "offset_bytes": len(ZIP)}))
    scripted.on("DELETE", "/v1/uploads/upl_1", Answer(204))
    scripted.on("POST", "/v1/datasets", refusal)
    with pytest.raises(APIError) as caught:
        client.datasets.create(path, "new")
    assert caught.value.status == refusal.status, "not what came of the removal"
    assert scripted.count("DELETE", "/v1/uploads/upl_1") == is_forgotten
    (sent,) = [request for request in scripted.requests if request.path == "/v1/datasets" and request.body]
    assert json.loads(sent.body)["upload_id"] == "upl_1"
