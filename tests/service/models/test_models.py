from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from file_requests import (
    FORM,
    PART,
    bundle_bytes,
    check_refusal,
    files_of,
    form,
    nothing_lost,
    part,
    safetensors_bytes,
    zip_bytes,
)
from onnx_samples import BAD_NETWORKS, BAD_STRUCTURES, changed, teacher
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import select
from stored_rows import insert_dataset, insert_job, insert_model

from service import validations
from service.errors import InUseError, NotReadyError
from service.jobs import repository as jobs
from service.jobs.inputs import hold_inputs
from service.jobs.states import JobState
from service.models import repository, service
from service.scopes import LOCAL_OWNER
from service.tables import JobModel, Model

WEIGHTS = safetensors_bytes()
MLP = {"name": "mlp", "width": 8}
WHOLE_MLP = {"name": "mlp", "width": 8, "depth": 2, "dropout": 0.0}
MODELS = "/v1/models"


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path / "data", max_model_bytes=10_000) as found:
        yield found


def model_form(
    name: str, content: bytes, file_name: str = "model.safetensors", architecture: Any = MLP, **fields: str
) -> bytes:
    parts = [part("name", name.encode())]
    if architecture is not None:
        text = architecture if isinstance(architecture, str) else json.dumps(architecture)
        parts.append(part("architecture", text.encode()))
    parts += [part(key, value.encode()) for key, value in fields.items()]
    return form(*parts, part("file", content, file_name))


def post(served: ServiceUnderTest, *arguments: Any, **options: Any) -> Any:
    return served.client.post(MODELS, content=model_form(*arguments, **options), headers=FORM)


def upload(served: ServiceUnderTest, content: bytes, file_name: str = "model.safetensors") -> str:
    body = {"file_name": file_name, "size_bytes": len(content)}
    upload_id = served.client.post("/v1/uploads", json=body).json()["id"]
    answer = served.client.patch(
        f"/v1/uploads/{upload_id}", content=content, headers=PART | {"Upload-Offset": "0"}
    )
    assert answer.status_code == 200
    return str(upload_id)


def listed(served: ServiceUnderTest, **params: Any) -> list[str]:
    answer = served.client.get(MODELS, params=params)
    assert answer.status_code == 200, answer.text
    return [model["name"] for model in answer.json()["data"]]


@pytest.mark.parametrize("resumable", [False, True])
def test_weights_from_their_post_to_their_end(served: ServiceUnderTest, resumable: bool) -> None:
    if resumable:
        body = {"name": "Teacher", "upload_id": upload(served, WEIGHTS), "architecture": MLP}
        answer = served.client.post(MODELS, json=body)
    else:
        answer = post(served, "Teacher", WEIGHTS)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{MODELS}/{made['id']}"
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert made | {"created_at": ""} == {
        "id": made["id"], "name": "Teacher", "state": "validating", "source": "upload", "role": None,
        "job_id": None, "format": "safetensors", "architecture": WHOLE_MLP, "size_bytes": len(WEIGHTS),
        "sha256": digest, "error": None, "report": None, "created_at": "", "validated_at": None,
    }  # fmt: skip
    assert files_of(served.settings) == {f"storage/models/{made['id']}/weights.safetensors": digest}
    with served.database.write() as session:
        claim = validations.claim(session, "wrk_a", 30)
        assert claim is not None
        assert (claim.subject, claim.id, claim.format) == ("model", made["id"], "safetensors")
        assert (claim.architecture, claim.storage_key) == (
            WHOLE_MLP,
            f"models/{made['id']}/weights.safetensors",
        )
        validations.finish(session, claim, report={"modality_kind": None, "classes": None})
    shown = served.client.get(f"{MODELS}/{made['id']}").json()
    assert (shown["state"], shown["report"]) == ("ready", {"modality_kind": None, "classes": None})
    assert listed(served, name="teacher", state="ready", source="upload") == ["Teacher"]
    assert "report" not in served.client.get(MODELS).json()["data"][0]
    assert served.client.delete(f"{MODELS}/{made['id']}").status_code == 204
    check_refusal(served.client.get(f"{MODELS}/{made['id']}"), 404, "not_found")
    check_refusal(served.client.delete(f"{MODELS}/{made['id']}"), 404, "not_found")
    assert files_of(served.settings) == {}
    assert post(served, "teacher", WEIGHTS).status_code == 201


def test_a_bundle_says_itself_what_it_is(served: ServiceUnderTest) -> None:
    answer = post(served, "bundle", bundle_bytes(), "bundle.zip", architecture=None)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["format"], made["architecture"]) == ("bundle", None)
    assert [*files_of(served.settings)] == [f"storage/models/{made['id']}/bundle.zip"]
    with nothing_lost(served.settings):
        problem = check_refusal(post(served, "other", bundle_bytes(), "b.zip"), 422, "conflicting_fields")
        assert [error["pointer"] for error in problem["errors"]] == ["/architecture"]
        problem = check_refusal(post(served, "other", WEIGHTS, architecture=None), 422, "missing_field")
        assert [error["pointer"] for error in problem["errors"]] == ["/architecture"]


@pytest.mark.parametrize("resumable", [False, True])
def test_an_onnx_file_is_all_there_is_to_it(served: ServiceUnderTest, resumable: bool) -> None:
    content = teacher().SerializeToString()
    if resumable:
        body = {"name": "Teacher", "upload_id": upload(served, content, "teacher.onnx")}
        answer = served.client.post(MODELS, json=body)
    else:
        answer = post(served, "Teacher", content, "teacher.onnx", architecture=None)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["format"], made["architecture"], made["state"]) == ("onnx", None, "validating")
    assert [*files_of(served.settings)] == [f"storage/models/{made['id']}/teacher.onnx"]
    with nothing_lost(served.settings):
        problem = check_refusal(post(served, "other", content, "t.onnx"), 422, "conflicting_fields")
        assert [error["pointer"] for error in problem["errors"]] == ["/architecture"]


def test_bad_onnx_files_wait_for_the_worker_like_bad_weights(served: ServiceUnderTest) -> None:
    """B61: the server never parses them; whoever does is limited."""
    for number, (_, change) in enumerate({**BAD_STRUCTURES, **BAD_NETWORKS}.values()):
        content = changed(change)
        answer = post(served, f"bad{number}", content, "bad.onnx", architecture=None)
        if len(content) > 10_000:
            check_refusal(answer, 413, "too_large")
            continue
        if content[1] > 30:  # an IR version of the future
            check_refusal(answer, 422, "invalid_onnx")
            continue
        assert answer.status_code == 201, answer.text
        assert answer.json()["format"] == "onnx"
        assert served.client.delete(f"{MODELS}/{answer.json()['id']}").status_code == 204
    assert files_of(served.settings) == {}


def test_architectures_that_are_none(served: ServiceUnderTest) -> None:
    """B63, in a form and in JSON alike."""
    wrong: list[tuple[Any, str, str]] = [
        ({"name": "swin"}, "not_allowed", "/architecture/name"),
        ({"name": "torchvision.models.resnet18"}, "not_allowed", "/architecture/name"),
        ({"name": "__import__('os').system('id')"}, "not_allowed", "/architecture/name"),
        ({"name": "../../x"}, "not_allowed", "/architecture/name"),
        ({}, "missing_field", "/architecture/name"),
        (MLP | {"auto_map": {"AutoModel": "x.py"}}, "unknown_field", "/architecture/auto_map"),
        (MLP | {"trust_remote_code": True}, "unknown_field", "/architecture/trust_remote_code"),
        (MLP | {"_attn_implementation": "x/y"}, "unknown_field", "/architecture/_attn_implementation"),
        (MLP | {"base_model": "https://example.org/x"}, "unknown_field", "/architecture/base_model"),
        (MLP | {"width": 0}, "out_of_range", "/architecture/width"),
        (MLP | {"width": "8"}, "wrong_type", "/architecture/width"),
        (MLP | {"width": 10**12}, "out_of_range", "/architecture/width"),
        (MLP | {"dropout": 1.0}, "out_of_range", "/architecture/dropout"),
        ("mlp", "wrong_type", "/architecture"),
        (["mlp"], "wrong_type", "/architecture"),
    ]
    upload_id = upload(served, WEIGHTS)
    with nothing_lost(served.settings):
        for architecture, code, pointer in wrong:
            as_form = post(served, "teacher", WEIGHTS, architecture=json.dumps(architecture))
            body = {"name": "teacher", "upload_id": upload_id, "architecture": architecture}
            for answer in (as_form, served.client.post(MODELS, json=body)):
                problem = check_refusal(answer, 422, code)
                assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_an_architecture_that_is_no_json(served: ServiceUnderTest) -> None:
    wrong = [
        ("mlp", 400, "invalid_json"),
        ("", 400, "invalid_json"),
        ('{"name": "mlp", "name": "mlp"}', 400, "duplicate_key"),
        ("[" * 1000 + "]" * 1000, 400, "too_deep"),
        ('{"name": "mlp", "dropout": NaN}', 422, "not_finite"),
        ('{"name": "\\ud800"}', 422, "invalid_unicode"),
        ('{"name": "mlp", "x": "' + "y" * 70_000 + '"}', 413, "too_large"),
    ]
    with nothing_lost(served.settings):
        for text, status, code in wrong:
            problem = check_refusal(post(served, "teacher", WEIGHTS, architecture=text), status, code)
            if status != 413:
                (found,) = problem["errors"]
                assert found["pointer"].startswith("/architecture"), code


def test_files_that_can_run_code(served: ServiceUnderTest) -> None:
    """B59, by name before the file's first byte, by content once it is there."""
    trapped = pickle.dumps({"weight": [0.0]}, protocol=4)
    unsafe = [
        (WEIGHTS, "model.pt"), (WEIGHTS, "model.PTH"), (WEIGHTS, "pytorch_model.bin"), (WEIGHTS, "model.pkl"),
        (WEIGHTS, "model.joblib"), (WEIGHTS, "model.h5"), (WEIGHTS, "model.keras"), (WEIGHTS, "model.pt2"),
        (trapped, "model.safetensors"), (trapped, "bundle.zip"), (b"\x93NUMPY", "model"),
        (zip_bytes({"archive/data.pkl": trapped}), "bundle.zip"),
        (zip_bytes({"code/__torch__.py": b"", "data.pkl": b""}), "model.safetensors"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "model"),
    ]  # fmt: skip
    kept = upload(served, trapped)
    with nothing_lost(served.settings):
        for content, file_name in unsafe:
            problem = check_refusal(post(served, "teacher", content, file_name), 415, "unsafe_format")
            assert "convert" in problem["detail"]
        body = {"name": "teacher", "upload_id": kept, "architecture": MLP}
        check_refusal(served.client.post(MODELS, json=body), 415, "unsafe_format")
        check_refusal(
            served.client.post(
                MODELS, content=model_form("teacher", b"x" * 10**6, "model.pt")[:5000], headers=FORM
            ),
            415,
            "unsafe_format",
        )


def test_files_that_are_no_model(served: ServiceUnderTest) -> None:
    wrong = [
        (b"\xff" * 99, "model.onnx", "invalid_onnx"),
        (b"", "model.onnx", "invalid_onnx"),
        (b"\x7fELF", "model", "unsupported_format"),
        (zip_bytes(), "bundle.zip", "unsupported_format"),
        (b"", "model.safetensors", "invalid_safetensors"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "model.safetensors", "invalid_safetensors"),
        (WEIGHTS[:-1], "model.safetensors", "invalid_safetensors"),
        (safetensors_bytes(header=b"{]"), "model.safetensors", "invalid_safetensors"),
    ]
    with nothing_lost(served.settings):
        for content, file_name, code in wrong:
            check_refusal(post(served, "teacher", content, file_name), 422, code)
        check_refusal(post(served, "teacher", WEIGHTS, sha256="0" * 64), 422, "checksum_mismatch")
        check_refusal(post(served, "teacher", WEIGHTS + bytes(10_000)), 413, "too_large")
        check_refusal(post(served, "teacher", WEIGHTS, role="teacher"), 422, "unknown_field")
        check_refusal(post(served, "teacher", WEIGHTS, source="job"), 422, "unknown_field")
        check_refusal(post(served, "mdl_" + "0" * 26, WEIGHTS), 422, "not_allowed")


def test_names_are_taken_once(served: ServiceUnderTest) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = [*threads.map(lambda i: post(served, "Teacher" if i % 2 else "teacher", WEIGHTS), range(8))]
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert len(files_of(served.settings)) == 1
    with nothing_lost(served.settings):
        check_refusal(post(served, "TEACHER", WEIGHTS), 409, "name_taken")
    insert_dataset(served.database, "other")
    assert post(served, "other", WEIGHTS).status_code == 201  # datasets have names of their own


def test_lists(served: ServiceUnderTest) -> None:
    dataset_id = insert_dataset(served.database, "digits")
    job_id = insert_job(served.database, dataset_id, state=JobState.SUCCEEDED)
    insert_model(served.database, "m0")
    insert_model(served.database, "m1", source="job", role="teacher", job_id=job_id)
    insert_model(served.database, "m2", source="job", role="student", job_id=job_id)
    insert_model(served.database, "m3", state="invalid", report=None)
    insert_model(served.database, "gone", deleted_at=datetime.now(UTC))
    insert_model(served.database, "theirs", owner_id="own_other")
    assert listed(served) == ["m3", "m2", "m1", "m0"]
    assert listed(served, job_id=job_id) == ["m2", "m1"]
    assert listed(served, source="job", state="ready", limit=1) == ["m2"]
    assert listed(served, source="upload") == ["m3", "m0"]
    assert listed(served, state="invalid") == ["m3"]
    assert listed(served, name="M1", job_id=job_id) == ["m1"]
    assert listed(served, job_id="job_" + "0" * 26) == []
    first = served.client.get(MODELS, params={"limit": 2, "source": "job"}).json()
    assert (first["has_more"], first["next_cursor"]) == (False, None)
    first = served.client.get(MODELS, params={"limit": 2}).json()
    assert listed(served, limit=2, cursor=first["next_cursor"]) == ["m1", "m0"]


def test_queries_that_are_wrong(served: ServiceUnderTest) -> None:
    refusals: list[tuple[dict[str, Any], int, str]] = [
        *(({"limit": limit}, 422, "out_of_range") for limit in (0, 101, "abc")),
        ({"source": "theft"}, 422, "not_allowed"),
        ({"role": "teacher"}, 422, "unknown_filter"),
        ({"job_id__gt": "x"}, 422, "unknown_filter"),
        ({"cursor": "x"}, 400, "invalid_cursor"),
    ]
    for params, status, code in refusals:
        check_refusal(served.client.get(MODELS, params=params), status, code)
    for job_id in ("x", "' OR 1=1", "job_\x00", "ds_" + "0" * 26, "j" * 5000):
        answer = served.client.get(MODELS, params={"job_id": job_id})
        assert answer.status_code == 422
        assert len(answer.content) < 2000


def test_ids_of_nothing(served: ServiceUnderTest) -> None:
    made = post(served, "teacher", WEIGHTS).json()["id"]
    stranger = served.other_client()
    with nothing_lost(served.settings):
        for method in ("GET", "DELETE"):
            for model_id in ("x", "mdl_" + "0" * 26, "ds_" + "0" * 26, "..%2fx", "mdl_" + "0" * 7000, "%00"):
                check_refusal(served.client.request(method, f"{MODELS}/{model_id}"), 404, "not_found")
            check_refusal(stranger.request(method, f"{MODELS}/{made}"), 404, "not_found")


@pytest.mark.parametrize("role", ["teacher", "start"])
@pytest.mark.parametrize("state", list(JobState))
def test_deleting_the_model_of_a_job(served: ServiceUnderTest, state: JobState, role: str) -> None:
    model_id = post(served, "teacher", WEIGHTS).json()["id"]
    dataset_id = insert_dataset(served.database, "digits")
    insert_job(served.database, dataset_id, given={role: model_id}, state=state)
    if state in (JobState.QUEUED, JobState.RUNNING):
        with nothing_lost(served.settings):
            check_refusal(served.client.delete(f"{MODELS}/{model_id}"), 409, "in_use")
    else:
        assert served.client.delete(f"{MODELS}/{model_id}").status_code == 204
        assert files_of(served.settings) == {}


def test_deleting_races_a_new_student(served: ServiceUnderTest) -> None:
    """F25: either the job is there and so is its teacher, or the teacher is gone and there is no job."""
    dataset_id = insert_dataset(served.database, "digits")
    for number in range(20):
        model_id = insert_model(served.database, f"m{number}")
        barrier = threading.Barrier(2)

        def delete(model_id: str = model_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                service.delete(served.context, LOCAL_OWNER, model_id)
            except InUseError:
                return False
            return True

        def use(model_id: str = model_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                with served.database.write() as session:
                    given = {"start": model_id}
                    hold_inputs(session, LOCAL_OWNER, dataset_id, given, max_waiting=100)
                    jobs.insert_job(
                        session, None, given=given, owner_id=LOCAL_OWNER, kind="distill", name="job", spec={},
                        labels={}, dataset_id=dataset_id, gpus=1,
                    )  # fmt: skip
            except NotReadyError:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            deleting, using = threads.submit(delete), threads.submit(use)
            assert (deleting.result(), using.result()) in {(True, False), (False, True)}
        with served.database.read() as session:
            job = session.scalar(select(JobModel).where(JobModel.model_id == model_id))
            deleted_at = session.get_one(Model, model_id).deleted_at
        assert (job is not None, deleted_at is not None) == (using.result(), deleting.result())


def test_deleting_the_model_of_a_job_keeps_its_artifacts(served: ServiceUnderTest, tmp_path: Path) -> None:
    dataset_id = insert_dataset(served.database, "digits")
    job_id = insert_job(served.database, dataset_id, state=JobState.SUCCEEDED)
    prefix = f"jobs/{job_id}/attempt-1/student"
    (tmp_path / "weights").write_bytes(WEIGHTS)
    served.context.storage.put(f"{prefix}/model.safetensors", tmp_path / "weights")
    model_id = insert_model(
        served.database, "student", source="job", role="student", job_id=job_id, storage_key=prefix
    )
    shown = served.client.get(f"{MODELS}/{model_id}").json()
    assert (shown["source"], shown["role"], shown["job_id"]) == ("job", "student", job_id)
    before = files_of(served.settings)
    assert served.client.delete(f"{MODELS}/{model_id}").status_code == 204
    assert files_of(served.settings) == before
    assert listed(served) == []


def test_looking_up_by_id_or_name(served: ServiceUnderTest) -> None:
    model_id = insert_model(served.database, "Teacher")
    with served.database.write() as session:
        for reference in (model_id, "Teacher", "tEACHER"):
            assert repository.resolve(session, LOCAL_OWNER, reference, lock=True).id == model_id
