"""A student arrives whole, with the right bytes, inside its folder; or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from scripted_server import Answer, ScriptedServer, problem

import fdkd_client
from fdkd_client import Client
from fdkd_client.downloads import safe_name

JOB = "job_01k9"
BASE = f"/v1/jobs/{JOB}/artifacts"
WEIGHTS = bytes(range(256)) * 400
CONFIG = b'{"a": 1}'


def entry(name: str, content: bytes, sha256: str | None = None) -> dict[str, object]:
    return {
        "name": name,
        "media_type": "application/octet-stream",
        "size_bytes": len(content),
        "sha256": sha256 or hashlib.sha256(content).hexdigest(),
        "url": f"{BASE}/{name}",
    }


def offer(server: ScriptedServer, **files: bytes) -> None:
    """Lists a student of these files, whose whole bytes are given."""
    listed = [entry(f"student/{name}", content) for name, content in files.items()]
    listed += [entry("result.json", b"{}"), entry("student.zip", b"zip")]
    server.on("GET", BASE, Answer(200, {"data": listed}))
    for name, content in files.items():
        server.on("GET", f"{BASE}/student/{name}", Answer(200, content))


def part(content: bytes, start: int, **more: bool) -> Answer:
    rest = content[start:]
    headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return Answer(206, rest, headers, **more)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_files_of_the_student_and_no_others(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    offer(scripted, weights=WEIGHTS, config=CONFIG)
    seen: list[tuple[int, int]] = []
    found = client.students.download(JOB, tmp_path / "out" / "student", on_progress=lambda *n: seen.append(n))
    assert files_of(found) == {"weights": WEIGHTS, "config": CONFIG}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["student"]
    total = len(WEIGHTS) + len(CONFIG)
    assert seen[-1] == (total, total)


def test_again_is_nothing_to_do(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    offer(scripted, weights=WEIGHTS)
    client.students.download(JOB, tmp_path / "student")
    num_requests = len(scripted.requests)
    client.students.download(JOB, tmp_path / "student")
    assert len(scripted.requests) == num_requests + 1


def test_another_folder_is_left_alone(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    offer(scripted, weights=WEIGHTS)
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "mine").write_text("precious")
    with pytest.raises(fdkd_client.LocalFileError, match="is not this student"):
        client.students.download(JOB, folder)
    assert files_of(folder) == {"mine": b"precious"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(fdkd_client.LocalFileError):
        client.students.download(JOB, tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(fdkd_client.LocalFileError):
        client.students.download(JOB, tmp_path / "link")


def test_an_empty_folder_is_filled(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    offer(scripted, weights=WEIGHTS)
    (tmp_path / "student").mkdir()
    assert files_of(client.students.download(JOB, tmp_path / "student")) == {"weights": WEIGHTS}


def test_what_broke_off_goes_on(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    offer(scripted, weights=WEIGHTS)
    length = {"Content-Length": str(len(WEIGHTS))}
    scripted.on(
        "GET",
        f"{BASE}/student/weights",
        Answer(200, WEIGHTS[:1000], length, is_cut=True),
        problem(503, "unavailable"),
        part(WEIGHTS, 1000),
    )
    folder = client.students.download(JOB, tmp_path / "student")
    assert files_of(folder) == {"weights": WEIGHTS}
    asked = [
        (r.headers.get("range"), r.headers.get("if-range")) for r in scripted.requests if "weights" in r.path
    ]
    tag = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert asked == [(None, None), ("bytes=1000-", tag), ("bytes=1000-", tag)]


def test_a_later_call_goes_on_where_this_one_stopped(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    offer(scripted, weights=WEIGHTS, config=CONFIG)
    cut = Answer(200, WEIGHTS[:5000], {"Content-Length": str(len(WEIGHTS))}, is_cut=True)
    scripted.on("GET", f"{BASE}/student/weights", cut, problem(404, "not_found"))
    with pytest.raises(fdkd_client.NotFoundError):
        client.students.download(JOB, tmp_path / "student")
    assert not (tmp_path / "student").exists()
    scripted.on("GET", f"{BASE}/student/weights", part(WEIGHTS, 5000))
    before = len(scripted.requests)
    assert files_of(client.students.download(JOB, tmp_path / "student"))["weights"] == WEIGHTS
    assert [r.headers.get("range") for r in scripted.requests[before:] if "weights" in r.path] == [
        "bytes=5000-"
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["student"]


def test_a_server_that_ignores_ranges(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    offer(scripted, weights=WEIGHTS)
    cut = Answer(200, WEIGHTS[:5000], {"Content-Length": str(len(WEIGHTS))}, is_cut=True)
    scripted.on("GET", f"{BASE}/student/weights", cut, Answer(200, WEIGHTS))
    assert files_of(client.students.download(JOB, tmp_path / "student"))["weights"] == WEIGHTS


def test_a_part_that_was_spoilt_is_fetched_anew(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    offer(scripted, weights=WEIGHTS)
    cut = Answer(200, b"\0" * 5000, {"Content-Length": str(len(WEIGHTS))}, is_cut=True)
    scripted.on("GET", f"{BASE}/student/weights", cut, problem(404, "not_found"))
    with pytest.raises(fdkd_client.NotFoundError):
        client.students.download(JOB, tmp_path / "student")
    scripted.on("GET", f"{BASE}/student/weights", part(WEIGHTS, 5000), Answer(200, WEIGHTS))
    assert files_of(client.students.download(JOB, tmp_path / "student"))["weights"] == WEIGHTS


@pytest.mark.parametrize("sent", [b"\0" * len(WEIGHTS), WEIGHTS + b"more"], ids=["others", "longer"])
def test_other_bytes_are_not_believed(
    scripted: ScriptedServer, client: Client, tmp_path: Path, sent: bytes
) -> None:
    offer(scripted, weights=WEIGHTS)
    scripted.on("GET", f"{BASE}/student/weights", Answer(200, sent))
    with pytest.raises(fdkd_client.IntegrityError):
        client.students.download(JOB, tmp_path / "student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    "name",
    [
        "student/../../evil",
        "student/..",
        "../evil",
        "/etc/passwd",
        "student//etc/passwd",
        "student/./x",
        "student/a\\..\\b",
        "student/C:evil",
        "student/a\nb",
        "student/a\0b",
        "student/\x1b[2J",
        "student/" + "x" * 256,
        "",
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    scripted: ScriptedServer, client: Client, tmp_path: Path, name: str
) -> None:
    scripted.on("GET", BASE, Answer(200, {"data": [entry("student/ok", b"x"), entry(name, b"evil")]}))
    with pytest.raises(fdkd_client.LocalFileError, match="not written to disk"):
        client.students.download(JOB, tmp_path / "out" / "student")
    assert not (tmp_path / "out").exists()


def test_honest_names() -> None:
    assert safe_name("student/onnx/model-v1.2_a.onnx").as_posix() == "student/onnx/model-v1.2_a.onnx"


def test_a_link_put_in_the_way_is_not_followed(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    offer(scripted, weights=WEIGHTS)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    staging = tmp_path / f".student.{JOB[-12:]}.partial"
    staging.mkdir()
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (staging / f".weights.{digest[:16]}.part").symlink_to(victim)
    with pytest.raises(fdkd_client.LocalFileError):
        client.students.download(JOB, tmp_path / "student")
    assert victim.read_text() == "precious"


def test_a_job_without_a_student(scripted: ScriptedServer, client: Client, tmp_path: Path) -> None:
    scripted.on("GET", BASE, Answer(200, {"data": []}))
    job = {"id": JOB, "kind": "distill", "name": "n", "state": "running"}
    scripted.on("GET", f"/v1/jobs/{JOB}", Answer(200, job))
    with pytest.raises(fdkd_client.FDKDClientError, match="it is running"):
        client.students.download(JOB, tmp_path / "student")
