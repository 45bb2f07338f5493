"""Several clients at once, over real sockets: the content is one of the inputs, the quota is kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from file_requests import PART, files_of, names_of, zip_bytes
from service_fixtures import RunningService, running_service
from sqlalchemy import select

from service import quota
from service.bodies import BLOCK_BYTES
from service.tables import Dataset

ROOM = 40_000_000


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[RunningService]:
    with running_service(database_url, tmp_path / "data", max_stored_bytes=ROOM) as service:
        yield service


def at_once(served: RunningService, number: int, act: Callable[[httpx2.Client, int], Any]) -> list[Any]:
    """What `number` clients get that all begin at the same moment."""
    barrier = threading.Barrier(number)

    def run(index: int) -> Any:
        with httpx2.Client(
            base_url=served.url, headers=served.headers, timeout=60, trust_env=False
        ) as client:
            barrier.wait()
            return act(client, index)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(run, range(number)))


def begin(served: RunningService, size_bytes: int) -> str:
    answer = httpx2.post(
        f"{served.url}/v1/uploads",
        json={"file_name": "data.zip", "size_bytes": size_bytes},
        headers=served.headers,
        trust_env=False,
    )
    assert answer.status_code == 201
    return str(answer.json()["id"])


@pytest.mark.parametrize("num_blocks", [0.01, 2.5])
def test_two_clients_on_one_upload(served: RunningService, num_blocks: float) -> None:
    """Both send all of their own file from byte 0: one gets through, and the bytes are its own."""
    size = int(num_blocks * BLOCK_BYTES)
    contents = [zip_bytes({"a": bytes([i + 1]) * size}) for i in range(2)]
    mismatches = 0
    for repetition in range(3):
        upload_id = begin(served, len(contents[0]))

        def send(client: httpx2.Client, index: int, upload_id: str = upload_id) -> int:
            headers = PART | {"Upload-Offset": "0"}
            return client.patch(
                f"/v1/uploads/{upload_id}", content=contents[index], headers=headers
            ).status_code

        statuses = at_once(served, 2, send)
        assert sorted(statuses) == [200, 409]
        mismatches += statuses.count(409)
        used = at_once(
            served,
            2,
            lambda client, index, r=repetition, u=upload_id: client.post(
                "/v1/datasets", json={"name": f"{r}-{index}", "upload_id": u}
            ),
        )
        assert sorted(answer.status_code for answer in used) == [201, 404]
        [made] = [answer.json() for answer in used if answer.status_code == 201]
        assert made["sha256"] == hashlib.sha256(contents[statuses.index(200)]).hexdigest()
    assert mismatches == 3
    assert len(files_of(served.settings)) == 3
    assert names_of(served.settings.uploads_dir) == []


def test_two_clients_resume_one_upload(served: RunningService) -> None:
    """Both have the same file and ask where to go on after each refusal: the file is whole, no byte twice."""
    content = zip_bytes({"a": bytes(range(256)) * 8000})
    upload_id = begin(served, len(content))
    refused = threading.Event()

    def send_all(client: httpx2.Client, index: int) -> bool:
        offset = 0
        while offset < len(content):
            answer = client.patch(
                f"/v1/uploads/{upload_id}",
                content=content[offset : offset + 60_000],
                headers=PART | {"Upload-Offset": str(offset)},
            )
            if answer.status_code == 409:
                refused.set()
            offset = answer.json()["offset_bytes"]
        return True

    assert at_once(served, 2, send_all) == [True, True]
    assert refused.is_set()  # else they never met
    made = httpx2.post(
        f"{served.url}/v1/datasets",
        json={"name": "whole", "upload_id": upload_id},
        headers=served.headers,
        trust_env=False,
    )
    assert made.json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_eight_datasets_of_one_name(served: RunningService) -> None:
    contents = [zip_bytes({"a": bytes([i]) * 300_000}) for i in range(8)]

    def post(client: httpx2.Client, index: int) -> httpx2.Response:
        name = "digits" if index % 2 else "DIGITS"
        return client.post("/v1/datasets", data={"name": name}, files={"file": ("data.zip", contents[index])})

    answers = at_once(served, 8, post)
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"name_taken"}
    [index] = [i for i, answer in enumerate(answers) if answer.status_code == 201]
    assert list(files_of(served.settings).values()) == [hashlib.sha256(contents[index]).hexdigest()]


def test_a_hundred_at_once_stay_within_the_quota(served: RunningService) -> None:
    """Each takes a tenth of the quota, half of them as announced uploads, half as datasets."""
    content = zip_bytes({"a": bytes(ROOM // 10 - 200)})
    assert 9 * len(content) < ROOM < 11 * len(content)

    def post(client: httpx2.Client, index: int) -> list[httpx2.Response]:
        answers = []
        for number in range(5):
            if index % 2:
                body = {"file_name": "data.zip", "size_bytes": len(content)}
                answers.append(client.post("/v1/uploads", json=body))
            else:
                files = {"file": ("data.zip", content)}
                answers.append(client.post("/v1/datasets", data={"name": f"{index}-{number}"}, files=files))
        return answers

    answers = [answer for found in at_once(served, 20, post) for answer in found]
    assert len(answers) == 100
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 10
    assert statuses.count(403) == 90
    assert {answer.json()["code"] for answer in answers if answer.status_code == 403} == {"quota_exceeded"}
    with served.database.read() as session:
        owner_id = session.scalars(select(Dataset.owner_id)).first()
        if owner_id is not None:
            assert quota.stored_bytes(session, owner_id) == 10 * len(content)
    assert not [name for name in names_of(served.settings.uploads_dir) if name.endswith(".body")]
