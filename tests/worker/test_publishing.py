"""Publishing: whole and checked, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from worker_process import running
from worker_rig import Rig

from fdkd_core.errors import ModelFileError, StorageError
from service.artifacts.archives import open_stored
from service.errors import StaleAttemptError
from service.jobs import transitions
from service.jobs.sweep import sweep
from service.storage import LocalStorage, Stored
from service.tables import Job
from worker.archives import store_archive, write_zip
from worker.publishing import model_name, publish, store_artifacts


class ForgetfulStorage(LocalStorage):
    """Says that it stored what it did not."""

    def put(self, key: str, source: Path) -> Stored:
        stored = super().put(key, source)
        if key.endswith("preprocess.json"):
            return Stored(key, stored.size_bytes, hashlib.sha256(b"something else").hexdigest())
        return stored


@pytest.fixture
def out(tmp_path: Path, undisturbed: Path) -> Path:
    copy = tmp_path / "attempt" / "out"
    shutil.copytree(undisturbed, copy)
    return copy


def claimed(rig: Rig, small_data: Path, lease_s: float = 60) -> Job:
    rig.add_job(rig.add_dataset(small_data))
    with rig.context.database.write() as session:
        job = transitions.claim(session, "wrk_test", lease_s)
    assert job is not None
    return job


def test_an_archive_depends_on_its_content_alone(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out / "student", copy)
    for path in copy.iterdir():
        path.touch()
        path.chmod(0o600)
    write_zip(out / "student", tmp_path / "a.zip")
    write_zip(copy, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def whole(rig: Rig, stored: Stored, begin: int = 0) -> bytes:
    with closing(open_stored(rig.context.storage, stored.key)) as file:
        file.seek(begin)
        return b"".join(iter(lambda: file.read(1000), b""))


def test_an_archive_is_put_together_from_what_is_stored_once(
    rig: Rig, out: Path, small_data: Path, tmp_path: Path
) -> None:
    write_zip(out / "student", tmp_path / "whole.zip")
    content = (tmp_path / "whole.zip").read_bytes()
    artifacts = store_artifacts(rig.context.storage, claimed(rig, small_data), out).artifacts
    found = artifacts["student.zip"]
    assert (found.size_bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    folder = (rig.context.settings.storage_dir / found.key).parent
    stored = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert stored == {name.replace(".zip", ".zip.parts") for name in artifacts}
    assert (folder / "student.zip.parts").stat().st_size < 10_000
    for begin in (0, 1, 29, 30, 100, len(content) // 2, len(content) - 1, len(content)):
        assert whole(rig, found, begin) == content[begin:]


def members_of(rig: Rig, folder: Path) -> dict[str, Stored]:
    put = rig.context.storage.put
    return {path.name: put(f"jobs/x/attempt-1/student/{path.name}", path) for path in folder.iterdir()}


def test_what_is_no_artifact_by_itself_is_in_the_archive(rig: Rig, out: Path, tmp_path: Path) -> None:
    archive = tmp_path / "student.zip"
    write_zip(out / "student", archive)
    for missing in ("README.md", "labels.json", "preprocess.json"):
        members = members_of(rig, out / "student")
        del members[missing]
        found = store_archive(rig.context.storage, f"jobs/x/{missing}/student.zip", archive, members)
        assert whole(rig, found) == archive.read_bytes()


def test_an_archive_that_is_read_back_otherwise_is_not_published(rig: Rig, out: Path, tmp_path: Path) -> None:
    archive = tmp_path / "student.zip"
    write_zip(out / "student", archive)
    members = members_of(rig, out / "student")
    members["config.json"] = members["labels.json"]
    with pytest.raises(StorageError, match=r"student\.zip"):
        store_archive(rig.context.storage, "jobs/x/attempt-1/student.zip", archive, members)


def test_what_was_stored_wrongly_is_not_published(rig: Rig, out: Path, small_data: Path) -> None:
    storage = ForgetfulStorage(rig.context.settings.storage_dir)
    with pytest.raises(StorageError, match=r"student/preprocess\.json"):
        store_artifacts(storage, claimed(rig, small_data), out)


def test_what_changed_since_the_core_wrote_it_is_not_published(rig: Rig, out: Path, small_data: Path) -> None:
    weights = out / "student" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises((StorageError, ModelFileError), match=r"model\.safetensors"):
        store_artifacts(rig.context.storage, claimed(rig, small_data), out)


def test_a_stale_attempt_lists_nothing(both_rig: Rig, out: Path, small_data: Path) -> None:
    rig = both_rig
    job = claimed(rig, small_data, lease_s=-1)
    publication = store_artifacts(rig.context.storage, job, out)
    sweep(rig.context)
    with pytest.raises(StaleAttemptError), rig.context.database.write() as session:
        publish(session, job, publication)
    assert rig.artifacts(job.id) == {}
    assert rig.models(job.id) == {}
    assert rig.job(job.id).state == "queued"


def test_a_long_name_still_tells_its_models_apart() -> None:
    jobs = [Job(id=f"job_{letter * 26}", name="n" * 128) for letter in "ab"]
    names = {model_name(job, role) for job in jobs for role in ("student", "teacher")}
    assert len(names) == 4
    assert max(map(len, names)) <= 128


def test_a_worker_that_dies_before_the_commit_publishes_with_its_next_attempt(
    both_rig: Rig, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything was stored, nothing was listed; the finished run is not done again."""
    rig = both_rig
    job_id = rig.add_job(rig.add_dataset(small_data))
    monkeypatch.setenv("FDKD_FAILPOINT", "before_success_commit")
    doomed = rig.start_worker(failpoint="before_success_commit")
    assert doomed.process.wait(30) == 137
    monkeypatch.delenv("FDKD_FAILPOINT")
    assert rig.job(job_id).state == "running"
    assert rig.artifacts(job_id) == {}
    stored = list(rig.context.storage.keys(f"jobs/{job_id}/attempt-1"))
    assert f"jobs/{job_id}/attempt-1/student.zip.parts" in stored
    with running(rig.start_worker()):
        job = rig.wait_for_end(job_id, "succeeded")
    assert job.attempt == 2
    assert [what for _, attempt, _, what in rig.trace() if attempt == 2] == ["start"], "it trained again"
    assert json.loads(rig.read_artifact(job_id, "student/manifest.json"))
    rig.require_clean_history([job_id])


def test_further_teachers_are_artifacts_and_no_models_of_the_job(
    rig: Rig, small_data: Path, out: Path
) -> None:
    shutil.copytree(out / "teacher", out / "teacher2")
    publication = store_artifacts(rig.context.storage, claimed(rig, small_data), out)
    assert {"teacher2.zip", "teacher2/model.safetensors", "teacher2/manifest.json"} <= set(
        publication.artifacts
    )
    assert set(publication.models) == {"student", "teacher"}
