from __future__ import annotations

import hashlib
import os
import pkgutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from file_requests import PART, check_refusal, files_of, names_of, nothing_lost, zip_bytes
from service_fixtures import ServiceUnderTest, make_app

from service.identifiers import new_id
from service.tables import Upload
from service.uploads.files import remove_expired, remove_left_over

CONTENT = zip_bytes({"manifest.csv": b"id,split,label,text\n" * 50})


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(
        database_url, tmp_path / "data", max_dataset_bytes=100_000, max_model_bytes=50_000
    ) as service:
        yield service


def begin(served: ServiceUnderTest, content: bytes = CONTENT, **changes: Any) -> str:
    body = {"file_name": "data.zip", "size_bytes": len(content)} | changes
    answer = served.client.post("/v1/uploads", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(served: ServiceUnderTest, upload_id: str, offset: int, content: Any) -> Any:
    return served.client.patch(
        f"/v1/uploads/{upload_id}", content=content, headers=PART | {"Upload-Offset": str(offset)}
    )


def complete(served: ServiceUnderTest, content: bytes = CONTENT, **changes: Any) -> str:
    upload_id = begin(served, content, **changes)
    assert send(served, upload_id, 0, content).status_code == 200
    return upload_id


def use(served: ServiceUnderTest, upload_id: str, name: str = "digits") -> Any:
    return served.client.post("/v1/datasets", json={"name": name, "upload_id": upload_id})


def let_expire(served: ServiceUnderTest, upload_id: str, ago: timedelta = timedelta(seconds=1)) -> None:
    with served.database.write() as session:
        session.get_one(Upload, upload_id).expires_at = datetime.now(UTC) - ago


def test_a_file_in_parts_becomes_a_dataset(served: ServiceUnderTest) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    created = served.client.post(
        "/v1/uploads", json={"file_name": "data.zip", "size_bytes": len(CONTENT), "sha256": digest.upper()}
    )
    assert created.status_code == 201
    upload = created.json()
    assert created.headers["location"] == f"/v1/uploads/{upload['id']}"
    assert upload | {"created_at": "", "expires_at": ""} == {
        "id": upload["id"], "file_name": "data.zip", "size_bytes": len(CONTENT), "offset_bytes": 0,
        "sha256": digest, "created_at": "", "expires_at": "",
    }  # fmt: skip
    assert upload["created_at"].endswith("Z")
    offset = 0
    while offset < len(CONTENT):
        answer = send(served, upload["id"], offset, CONTENT[offset : offset + 400])
        assert answer.status_code == 200
        offset = answer.json()["offset_bytes"]
        assert served.client.get(f"/v1/uploads/{upload['id']}").json() == answer.json()
    used = use(served, upload["id"])
    assert used.status_code == 201
    dataset = used.json()
    assert (dataset["sha256"], dataset["size_bytes"], dataset["format"]) == (digest, len(CONTENT), "zip")
    with served.context.storage.open(f"datasets/{dataset['id']}/{dataset['id']}.zip") as file:
        assert file.read() == CONTENT
    check_refusal(served.client.get(f"/v1/uploads/{upload['id']}"), 404, "not_found")
    check_refusal(use(served, upload["id"], "again"), 404, "not_found")
    assert names_of(served.settings.uploads_dir) == []


@pytest.mark.parametrize(
    ("offset", "why"), [(0, "the first part twice"), (9, "overlap"), (11, "gap"), (10**17, "far away")]
)
def test_a_part_must_begin_where_the_upload_ends(served: ServiceUnderTest, offset: int, why: str) -> None:
    upload_id = begin(served)
    assert send(served, upload_id, 0, CONTENT[:10]).status_code == 200
    with nothing_lost(served.settings):
        problem = check_refusal(send(served, upload_id, offset, CONTENT[:10]), 409, "offset_mismatch")
    assert problem["offset_bytes"] == 10
    assert send(served, upload_id, 10, CONTENT[10:]).status_code == 200
    assert use(served, upload_id).status_code == 201


def test_an_incomplete_upload_cannot_be_used(served: ServiceUnderTest) -> None:
    upload_id = begin(served)
    send(served, upload_id, 0, CONTENT[:-1])
    with nothing_lost(served.settings):
        problem = check_refusal(use(served, upload_id), 409, "incomplete")
    assert problem["offset_bytes"] == len(CONTENT) - 1
    assert send(served, upload_id, len(CONTENT) - 1, CONTENT[-1:]).status_code == 200
    assert use(served, upload_id).status_code == 201


def test_an_expired_upload(served: ServiceUnderTest) -> None:
    upload_id = begin(served)
    send(served, upload_id, 0, CONTENT[:10])
    let_expire(served, upload_id)
    with nothing_lost(served.settings):
        check_refusal(send(served, upload_id, 10, CONTENT[10:]), 410, "expired")
        check_refusal(served.client.get(f"/v1/uploads/{upload_id}"), 410, "expired")
        check_refusal(use(served, upload_id), 410, "expired")
    assert served.client.delete(f"/v1/uploads/{upload_id}").status_code == 204
    assert names_of(served.settings.uploads_dir) == []


def test_expired_uploads_are_forgotten_later(served: ServiceUnderTest) -> None:
    fresh, young, old = begin(served), begin(served), begin(served)
    let_expire(served, young)
    let_expire(served, old, timedelta(hours=2))
    assert remove_expired(served.database, served.settings.uploads_dir) == 1
    check_refusal(served.client.get(f"/v1/uploads/{old}"), 404, "not_found")
    check_refusal(served.client.get(f"/v1/uploads/{young}"), 410, "expired")
    assert names_of(served.settings.uploads_dir) == sorted([f"{fresh}.part", f"{young}.part"])


def test_only_old_files_of_nobody_are_left_over(served: ServiceUnderTest) -> None:
    folder = served.settings.uploads_dir
    living = begin(served)
    names = [f"{new_id('upl')}.part", "0123.body", f"{living}.part", "young.body"]
    for name in names:
        (folder / name).touch()
        if name != "young.body":
            os.utime(folder / name, (time.time() - 7200, time.time() - 7200))
    assert remove_left_over(served.database, folder) == 2
    assert names_of(folder) == sorted([f"{living}.part", "young.body"])


@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_was_announced(served: ServiceUnderTest, chunked: bool) -> None:
    upload_id = begin(served)
    too_much = CONTENT + b"x"
    with nothing_lost(served.settings):
        check_refusal(
            send(served, upload_id, 0, iter([too_much[:5], too_much[5:]]) if chunked else too_much),
            413,
            "too_large",
        )
    assert send(served, upload_id, 0, CONTENT).status_code == 200
    check_refusal(send(served, upload_id, len(CONTENT), b"x"), 413, "too_large")
    assert send(served, upload_id, len(CONTENT), b"").status_code == 200  # nothing more is no harm
    assert use(served, upload_id).status_code == 201


def test_a_chunked_part(served: ServiceUnderTest) -> None:
    upload_id = begin(served)
    answer = send(served, upload_id, 0, (CONTENT[i : i + 100] for i in range(0, len(CONTENT), 100)))
    assert answer.json()["offset_bytes"] == len(CONTENT)


NO_OFFSETS: list[dict[str, Any]] = [
    {}, {"Upload-Offset": ""}, {"Upload-Offset": "-1"}, {"Upload-Offset": "1.0"},
    {"Upload-Offset": "0x0"},
    {"Upload-Offset": "9" * 5000}, {"Upload-Offset": "0, 0"}, {"Upload-Offset": "\u0660".encode()},
]  # fmt: skip


def test_an_offset_that_is_no_number(served: ServiceUnderTest) -> None:
    upload_id = begin(served)
    for headers in NO_OFFSETS:
        with nothing_lost(served.settings):
            answer = served.client.patch(f"/v1/uploads/{upload_id}", content=b"x", headers=PART | headers)
            check_refusal(answer, 400, "malformed_request")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/json"},
        {"Content-Type": ""},
        PART | {"Content-Encoding": "gzip"},
    ],
)
def test_a_part_of_another_type(served: ServiceUnderTest, headers: dict[str, str]) -> None:
    upload_id = begin(served)
    with nothing_lost(served.settings):
        answer = served.client.patch(
            f"/v1/uploads/{upload_id}", content=b"x", headers={"Upload-Offset": "0"} | headers
        )
        check_refusal(answer, 415, "unsupported_media_type")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"size_bytes": 1}, "missing_field", "/file_name"),
    ({"file_name": "a.zip"}, "missing_field", "/size_bytes"),
    ({"file_name": "", "size_bytes": 1}, "out_of_range", "/file_name"),
    ({"file_name": "a" * 256, "size_bytes": 1}, "out_of_range", "/file_name"),
    ({"file_name": "a\u202egnp.zip", "size_bytes": 1}, "invalid_characters", "/file_name"),
    ({"file_name": "a.zip", "size_bytes": 0}, "out_of_range", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": -1}, "out_of_range", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": "7"}, "wrong_type", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": True}, "wrong_type", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": 1.5}, "wrong_type", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": 2**63}, "out_of_range", "/size_bytes"),
    ({"file_name": "a.zip", "size_bytes": 1, "sha256": "xyz"}, "invalid_characters", "/sha256"),
    ({"file_name": "a.zip", "size_bytes": 1, "sha256": "0" * 64 + "\n"}, "invalid_characters", "/sha256"),
    ({"file_name": "a.zip", "size_bytes": 1, "offset_bytes": 1}, "unknown_field", "/offset_bytes"),
    ({"file_name": "a.zip", "size_bytes": 1, "owner_id": "own_x"}, "unknown_field", "/owner_id"),
]


def test_an_announcement_that_is_wrong(served: ServiceUnderTest) -> None:
    for body, code, pointer in WRONG:
        with nothing_lost(served.settings):
            problem = check_refusal(served.client.post("/v1/uploads", json=body), 422, code)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_a_file_larger_than_any_may_be(served: ServiceUnderTest) -> None:
    with nothing_lost(served.settings):
        for size in (100_001, 2**62):
            body = {"file_name": "a.zip", "size_bytes": size}
            check_refusal(served.client.post("/v1/uploads", json=body), 413, "too_large")


def test_an_upload_larger_than_a_model_may_be_still_makes_a_dataset(served: ServiceUnderTest) -> None:
    content = zip_bytes({"manifest.csv": bytes(60_000)})
    upload_id = complete(served, content)
    body = {"name": "m", "upload_id": upload_id}
    with nothing_lost(served.settings):
        check_refusal(served.client.post("/v1/models", json=body), 413, "too_large")
    assert use(served, upload_id).status_code == 201


def test_what_arrived_is_not_what_was_announced(served: ServiceUnderTest) -> None:
    other = begin(served)
    with nothing_lost(served.settings):
        upload_id = complete(served, sha256="0" * 64)
        check_refusal(use(served, upload_id), 422, "checksum_mismatch")
        check_refusal(served.client.get(f"/v1/uploads/{upload_id}"), 404, "not_found")
    assert send(served, other, 0, CONTENT).status_code == 200


def test_a_refused_use_keeps_the_upload(served: ServiceUnderTest) -> None:
    assert use(served, complete(served), "Digits").status_code == 201
    upload_id, broken = complete(served), complete(served, b"\x7fELF" + bytes(100))
    with nothing_lost(served.settings):
        check_refusal(use(served, upload_id, "digits"), 409, "name_taken")
        check_refusal(use(served, upload_id, ".."), 422, "not_allowed")
        check_refusal(use(served, broken, "other"), 422, "unsupported_format")
    assert use(served, upload_id, "other").status_code == 201


NO_IDS = [
    "x", "upl_" + "0" * 26, "UPL_" + "0" * 26, "ds_" + "0" * 26, "upl_" + "0" * 10_000, "' OR 1=1 --",
    "..%2f..%2fsecret", "upl_" + "0" * 25 + "%00", "%F0%9F%98%80",
]  # fmt: skip


def test_ids_of_nothing(served: ServiceUnderTest) -> None:
    with nothing_lost(served.settings):
        for upload_id in NO_IDS:
            for method in ("GET", "DELETE", "PATCH"):
                headers = PART | {"Upload-Offset": "0"} if method == "PATCH" else {}
                answer = served.client.request(
                    method, f"/v1/uploads/{upload_id}", headers=headers, content=b"x" if headers else None
                )
                assert answer.status_code in (404, 414)
                assert answer.headers["content-type"] == "application/problem+json"
            for value in (upload_id, "a\x00b"):
                assert use(served, value).status_code in (404, 422)


def test_uploads_of_somebody_else_are_not_there(served: ServiceUnderTest) -> None:
    upload_id = complete(served)
    stranger = served.other_client()
    with nothing_lost(served.settings):
        for answer in (
            stranger.get(f"/v1/uploads/{upload_id}"),
            stranger.delete(f"/v1/uploads/{upload_id}"),
            stranger.patch(f"/v1/uploads/{upload_id}", content=b"x", headers=PART | {"Upload-Offset": "0"}),
            stranger.post("/v1/datasets", json={"name": "mine", "upload_id": upload_id}),
            stranger.post("/v1/models", json={"name": "mine", "upload_id": upload_id}),
        ):
            check_refusal(answer, 404, "not_found")


def test_a_deleted_upload_is_gone(served: ServiceUnderTest) -> None:
    with nothing_lost(served.settings):
        upload_id = begin(served)
        send(served, upload_id, 0, CONTENT[:10])
        assert served.client.delete(f"/v1/uploads/{upload_id}").status_code == 204
        check_refusal(served.client.delete(f"/v1/uploads/{upload_id}"), 404, "not_found")
        check_refusal(send(served, upload_id, 10, CONTENT[10:]), 404, "not_found")


def test_a_reader_may_look_only(served: ServiceUnderTest) -> None:
    upload_id = begin(served)
    with served.database.read() as session:
        owner_id = session.get_one(Upload, upload_id).owner_id
    reader = served.other_client("read", owner_id=owner_id)
    with nothing_lost(served.settings):
        assert reader.get(f"/v1/uploads/{upload_id}").status_code == 200
        check_refusal(reader.delete(f"/v1/uploads/{upload_id}"), 403, "missing_scope")
        check_refusal(
            reader.post("/v1/uploads", json={"file_name": "a", "size_bytes": 1}), 403, "missing_scope"
        )


def test_the_part_file_is_its_owners_alone(served: ServiceUnderTest) -> None:
    path = served.settings.uploads_dir / f"{begin(served)}.part"
    assert path.stat().st_mode & 0o777 == 0o600
    assert served.settings.uploads_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "moment", ["service.datasets.service.identify", "service.storage.LocalStorage.adopt"]
)
def test_an_upload_that_somebody_else_uses_up_in_this_moment(
    served: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The other request has removed the file just before this one reads it, or gives it its key."""
    upload_id = complete(served)
    real = pkgutil.resolve_name(moment)

    def too_late(*arguments: Any) -> Any:
        (served.settings.uploads_dir / f"{upload_id}.part").unlink()
        return real(*arguments)

    monkeypatch.setattr(moment, too_late)
    answer = served.client.post("/v1/datasets", json={"name": "late", "upload_id": upload_id})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert files_of(served.settings) == {}
