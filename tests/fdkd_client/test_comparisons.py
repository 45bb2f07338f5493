"""Comparisons, studies and diagnoses as the client reads and shows them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fdkd_command import fdkd
from rich.console import Console
from scripted_server import Answer, ScriptedServer
from study_samples import compare_spec, study_result

from fdkd_client import Client
from fdkd_client.cli.comparison_tables import comparison_view
from fdkd_client.cli.job_tables import job_view
from fdkd_client.figures import ComparisonFigures, DiagnosisFigures, RunFigures, StudyFigures
from fdkd_client.results import Job

MOMENT = "2026-01-01T00:00:00Z"
CHILDREN = {"queued": 1, "running": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "adopted": {}}
PARENT: dict[str, Any] = {
    "id": "job_p",
    "kind": "compare",
    "name": "which one",
    "state": "running",
    "spec": {"dataset": "small", "teacher": {"modality": "clean"}, "student": {"modality": "wave"}},
    "is_blocked": True,
    "children": CHILDREN,
    "progress": {"phase": "children", "step": 1, "total_steps": 3, "epoch": None, "eta_s": None},
    "created_at": MOMENT,
    "started_at": MOMENT,
}
CHILD: dict[str, Any] = {
    **PARENT, "kind": "study", "is_blocked": False, "children": None, "parent_id": "job_p", "progress": None,
}  # fmt: skip


def estimate(mean: float, width: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "low": mean - width, "high": mean + width}


def arm(label: str, **figures: Any) -> dict[str, Any]:
    return {
        "label": label, "method": label.split()[0], "is_control": label == "no_teacher", "error": None,
        "lr": 0.05, "trials": 3, "test": estimate(0.9), "seconds": 61.0, **figures,
    }  # fmt: skip


RESULT: dict[str, Any] = {
    "kind": "compare",
    "name": "which one",
    "spec_sha256": "0" * 64,
    "data_sha256": "0" * 64,
    "metric": "accuracy",
    "arms": [
        arm("no_teacher"),
        arm(
            "fd_cmkd", difference=estimate(0.021, 0.005), p_value=0.01, p_value_holm=0.0312, verdict="helps",
            teacher_gap_closed=0.42,
        ),
        arm("logit_kd", error="diverged: became [nan]", test=None, lr=None),
    ],
    "best": "fd_cmkd",
    "summary": ["fd_cmkd helps: +2.1 points."],
}  # fmt: skip
SUCCEEDED = {**PARENT, "state": "succeeded", "result": RESULT, "finished_at": MOMENT, "is_blocked": False}


def shown(job: dict[str, Any], *children: dict[str, Any]) -> str:
    target = io.StringIO()
    parts = [Job.model_validate(child) for child in children]
    Console(file=target, width=140).print(job_view(Job.model_validate(job), parts))
    return target.getvalue()


@pytest.fixture(autouse=True)
def environment(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_URL", scripted.url)
    monkeypatch.setenv("FDKD_API_KEY", "fdkd_key")


def test_a_result_is_read_by_its_kind() -> None:
    study = study_result("fd_cmkd", compare_spec(), [0.9, 0.92]).model_dump(mode="json")
    diagnosis = {
        "kind": "diagnose", "name": "d", "spec_sha256": "", "data_sha256": "", "verdict": "promising",
    }  # fmt: skip
    for result, model in ((RESULT, ComparisonFigures), (study, StudyFigures), (diagnosis, DiagnosisFigures)):
        job = Job.model_validate({**CHILD, "result": result})
        assert type(job.result) is model
        assert Job.model_validate_json(job.model_dump_json()) == job
    unknown = {"kind": "of tomorrow", "student": 1}
    job = Job.model_validate({**CHILD, "kind": "of tomorrow", "result": unknown})
    assert job.result == unknown
    assert "of tomorrow" in shown({**CHILD, "state": "succeeded", "result": unknown})
    assert not isinstance(job.result, RunFigures)


def test_the_table_of_a_comparison() -> None:
    text = shown(SUCCEEDED, {**CHILD, "id": "job_c", "name": "fd_cmkd", "state": "succeeded"})
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert rows["no_teacher"] == "no_teacher 0.05 90.0 ±1.0 the control 1m 01s"
    assert "+2.1 ±0.5 0.031 42% helps" in rows["fd_cmkd"]
    assert "logit_kd failed: diverged: became [nan]" in text
    assert "- fd_cmkd helps: +2.1 points." in text
    assert "fdkd jobs artifacts job_p" in text
    assert "fdkd students download job_c" in text
    assert "jobs retry" not in text  # it would diverge again


def test_an_arm_that_was_cancelled_did_not_fail() -> None:
    arms = [*RESULT["arms"][:2], arm("dist", error="cancelled", test=None, lr=None)]
    text = shown({**SUCCEEDED, "result": {**RESULT, "arms": arms}})
    assert "failed" not in text
    told = " ".join(text.split())
    assert "dist cancelled 1m 01s" in told
    assert "fdkd jobs retry job_p, which runs the arm without figures again" in told


def test_what_the_columns_of_a_comparison_are_is_said_of_all_its_arms() -> None:
    plain = " ".join(shown(SUCCEEDED).split())
    assert "Accuracy in %, ± half of a 95 % interval over seeds" in plain
    assert "adjusted for the number of methods" in plain
    assert "are controls" not in plain
    both = {**RESULT, "intervals": "seeds and the 12 groups of the test split"}
    over_both = " ".join(shown({**SUCCEEDED, "result": both}).split())
    assert (
        "± half of a 95 % interval over seeds, to the control over seeds and the 12 groups of the test "
        "split; p of the same, adjusted for the number of methods"
    ) in over_both
    # p of a fake teacher is not one of the methods', and not adjusted.
    view = "shuffled_pairs"
    fake = arm(f"fd_cmkd {view}", is_control=True, teacher_view=view, difference=estimate(0.0), p_value=0.762)
    text = " ".join(shown({**SUCCEEDED, "result": {**RESULT, "arms": [*RESULT["arms"], fake]}}).split())
    assert "0.762" in text
    assert "p of the paired t-test, of methods adjusted for their number" in text
    assert "Arms with shuffled_pairs are controls" in text


def test_a_difference_of_errors_is_said_to_be_turned() -> None:
    text = " ".join(shown({**SUCCEEDED, "result": {**RESULT, "metric": "mae"}}).split())
    assert "Differences to the control are of the test split, turned so that more is better." in text
    assert "turned" not in shown(SUCCEEDED)


def test_a_narrow_terminal_keeps_sentences_beside_their_marks() -> None:
    sentence = (
        "fd_cmkd helps: +2.1 points (95 % interval 1.6 to 2.6) on the test split over the tuned control."
    )
    target = io.StringIO()
    figures = ComparisonFigures.model_validate({**RESULT, "summary": [sentence]})
    Console(file=target, width=80).print(comparison_view(figures))
    lines = target.getvalue().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("- fd_cmkd helps"))
    assert lines[place + 1].startswith("  ")
    assert lines[place + 1].strip()


@pytest.mark.parametrize(("metric", "words"), [("mean_iou", "mIoU in %"), ("macro_f1", "Macro-F1 in %")])
def test_names_of_figures_are_spelt_as_ever(metric: str, words: str) -> None:
    text = shown({**SUCCEEDED, "result": {**RESULT, "metric": metric}})
    assert f"{words}, ± half of" in text


def test_one_seed_has_no_interval_to_explain() -> None:
    run = study_result("fd_cmkd", compare_spec(), [0.9]).model_dump(mode="json")["runs"]
    one = [{**found, "runs": run} for found in (arm("no_teacher"), arm("fd_cmkd"))]
    text = " ".join(shown({**SUCCEEDED, "result": {**RESULT, "arms": one}}).split())
    assert "Accuracy in %, of one seed; gap:" in text
    assert "t-test" not in text


def test_the_final_runs_of_a_study() -> None:
    study = study_result("fd_cmkd", compare_spec(), [0.9, 0.92]).model_dump(mode="json")
    text = shown({**CHILD, "state": "succeeded", "result": study})
    assert "part of" in text
    assert "90.0" in text
    assert "92.0" in text
    assert "tuned in 1 trial: lr 0.1" in text
    assert "test accuracy: 91.0 % (95 % interval 78.3 to 100.0 over seeds)" in " ".join(text.split())
    known = {"test": estimate(0.91, 0.12), "metric": "accuracy", "intervals": "seeds and test rows"}
    text = " ".join(shown({**CHILD, "state": "succeeded", "result": {**study, **known}}).split())
    assert "test accuracy: 91.0 % (95 % interval 79.0 to 100.0 over seeds and test rows)" in text
    text = shown({**CHILD, "state": "succeeded", "result": {**study, "chosen": "As stated: so it is."}})
    assert "As stated: so it is." in " ".join(text.split())
    earlier = {name: value for name, value in study.items() if name not in ("test", "metric", "intervals")}
    assert "95 % interval" not in shown({**CHILD, "state": "succeeded", "result": earlier})


def test_a_diagnosis_is_shown_with_its_reasons() -> None:
    """Its own view (`test_diagnosis_view`) takes it as it came, sections of another release included."""
    result = {
        "kind": "diagnose", "name": "d", "spec_sha256": "", "data_sha256": "",
        "findings": {"of_tomorrow": {"deep": 1}}, "verdict": "uncertain", "advice": ["Post the job."],
        "reasons": [{"rule": "bands", "speaks": "for", "text": "The low band agrees."}],
    }  # fmt: skip
    text = shown({**CHILD, "kind": "diagnose", "state": "succeeded", "result": result})
    for found in ("uncertain", "The low band agrees.", "Post the job."):
        assert found in text


def test_a_parent_is_shown_with_its_children(scripted: ScriptedServer) -> None:
    progress = {"phase": "seed-1", "step": 5, "total_steps": 20, "epoch": 1, "eta_s": 90}
    children = [
        {
            **CHILD,
            "id": "job_3",
            "name": "fd_cmkd",
            "state": "queued",
            "is_blocked": True,
            "started_at": None,
        },
        {**CHILD, "id": "job_2", "name": "no_teacher", "progress": progress},
    ]
    adopted = {**CHILD, "id": "job_1", "name": "teacher", "state": "succeeded", "finished_at": MOMENT}
    parent = {**PARENT, "children": {**CHILDREN, "adopted": {"teacher": "job_1"}}}
    scripted.on("GET", "/v1/jobs/job_p", Answer(200, parent))
    scripted.on("GET", "/v1/jobs/job_1", Answer(200, adopted))
    scripted.on("GET", "/v1/jobs", Answer(200, {"data": children, "has_more": False, "next_cursor": None}))
    ran = fdkd("jobs", "show", "job_p")
    assert ran.status == 0, ran.stderr
    assert "compares what clean teaches wave on small" in ran.stdout
    assert "1 of 3 jobs has ended" in ran.stdout
    lines = [line.split() for line in ran.stdout.splitlines()]
    order = [line[0] for line in lines if line and line[0] in ("teacher", "no_teacher", "fd_cmkd")]
    assert order == ["teacher", "no_teacher", "fd_cmkd"]
    assert "seed-1 25%" in ran.stdout
    assert "waits for the teacher" in ran.stdout
    assert (
        "parent_id=job_p" in scripted.requests[-1].query or "parent_id=job_p" in scripted.requests[-2].query
    )
    raw = json.loads(fdkd("jobs", "show", "job_p", "--output", "json").stdout)
    assert raw["children"]["adopted"] == {"teacher": "job_1"}
    ran = fdkd("jobs", "ls", "--parent", "job_p")
    assert "parent_id=job_p" in scripted.requests[-1].query
    assert "no_teacher" in ran.stdout


def test_what_a_repetition_took_over_is_in_the_order_of_its_start(scripted: ScriptedServer) -> None:
    # As PostgreSQL keeps an object: by the length of its names.
    adopted = {"dist": "job_3", "teacher": "job_1", "no_teacher": "job_2"}
    ended = {**CHILD, "state": "succeeded", "finished_at": MOMENT}
    for name, job_id in adopted.items():
        scripted.on("GET", f"/v1/jobs/{job_id}", Answer(200, {**ended, "id": job_id, "name": name}))
    own = {**CHILD, "id": "job_4", "name": "logit_kd"}
    scripted.on("GET", "/v1/jobs", Answer(200, {"data": [own], "has_more": False, "next_cursor": None}))
    parent = Job.model_validate({**PARENT, "children": {**CHILDREN, "adopted": adopted}})
    with Client() as client:
        found = client.jobs.children(parent)
    assert [child.name for child in found] == ["teacher", "no_teacher", "dist", "logit_kd"]


def test_the_jobs_of_a_comparison_are_followed(scripted: ScriptedServer, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps(compare_spec().model_dump(mode="json")))
    queued = {**PARENT, "state": "queued", "progress": None, "started_at": None}
    counts = {**CHILDREN, "queued": 0, "running": 1, "failed": 1}
    later = {
        **PARENT, "children": counts,
        "progress": {"phase": "children", "step": 2, "total_steps": 3, "epoch": None, "eta_s": None},
    }  # fmt: skip
    scripted.on("POST", "/v1/jobs", Answer(201, queued))
    concluding = {**PARENT, "attempt": 1, "progress": {"phase": "finalise", "step": 3, "total_steps": 3}}
    looks = [Answer(200, job) for job in (queued, PARENT, later, concluding, SUCCEEDED)]
    scripted.on("GET", "/v1/jobs/job_p", *looks)
    scripted.on("GET", "/v1/jobs", Answer(200, {"data": [], "has_more": False, "next_cursor": None}))
    ran = fdkd("jobs", "run", spec, "--wait")
    assert ran.status == 0, ran.stderr
    assert "1 of 3 jobs has ended, 1 running" in ran.stderr
    assert "2 of 3 jobs have ended, 1 running, 1 failed" in ran.stderr
    assert "comparing what its jobs found" in ran.stderr
    assert "fd_cmkd helps" in ran.stdout


def test_a_terminal_of_80_columns_shows_whole_labels() -> None:
    long = {
        **arm("fd_cmkd permuted_channels"),
        "difference": estimate(-0.123, 0.101),
        "verdict": "no evidence",
    }
    target = io.StringIO()
    figures = ComparisonFigures.model_validate({**RESULT, "arms": [*RESULT["arms"], long]})
    Console(file=target, width=80).print(comparison_view(figures))
    text = target.getvalue()
    assert "…" not in text
    for word in ("no_teacher", "permuted_channels", "-12.3 ±10.1", "no evidence", "the control", "1m 01s"):
        assert word in text


def test_artifacts_are_listed_and_downloaded(scripted: ScriptedServer, tmp_path: Path) -> None:
    files = {"result.json": b"{}", "report/comparison.csv": b"a,b\n"}
    listed = [
        {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    scripted.on("GET", "/v1/jobs/job_p/artifacts", Answer(200, {"data": listed}))
    for name, data in files.items():
        scripted.on("GET", f"/v1/jobs/job_p/artifacts/{name}", Answer(200, chunks=[data]))
    assert "report/comparison.csv" in fdkd("jobs", "artifacts", "job_p").stdout
    assert len(json.loads(fdkd("jobs", "artifacts", "job_p", "--output", "json").stdout)) == 2
    for _ in range(2):  # the second time everything is there
        ran = fdkd("jobs", "artifacts", "job_p", "-o", tmp_path / "all")
        assert ran.status == 0, ran.stderr
        assert ran.stdout.splitlines() == [str(tmp_path / "all" / name) for name in files]
        assert {name: (tmp_path / "all" / name).read_bytes() for name in files} == files
    assert len([request for request in scripted.requests if request.path.endswith(".csv")]) == 1
    ran = fdkd("jobs", "artifacts", "job_p", "-o", tmp_path / "all", "--output", "json")
    assert json.loads(ran.stdout) == [str(tmp_path / "all" / name) for name in files]
    (tmp_path / "all" / "result.json").write_text("mine")
    ran = fdkd("jobs", "artifacts", "job_p", "-o", tmp_path / "all")
    assert ran.status != 0
    assert "another file" in ran.stderr
    scripted.on("GET", "/v1/jobs/job_q/artifacts", Answer(200, {"data": []}))
    ran = fdkd("jobs", "artifacts", "job_q", "-o", tmp_path / "none")
    assert (ran.status, ran.stdout) == (0, "")
    assert "It has made no files" in ran.stderr
    assert json.loads(fdkd("jobs", "artifacts", "job_q", "-o", tmp_path, "--output", "json").stdout) == []


def test_a_name_that_leads_out_of_the_folder_is_refused(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    listed = [{"name": "../evil", "size_bytes": 1, "sha256": "0" * 64}]
    scripted.on("GET", "/v1/jobs/job_p/artifacts", Answer(200, {"data": listed}))
    from fdkd_client import LocalFileError

    with pytest.raises(LocalFileError, match="not written to disk"):
        client.jobs.download_artifacts("job_p", tmp_path / "all")
    assert not (tmp_path / "evil").exists()


def test_a_list_says_that_arms_failed(scripted: ScriptedServer) -> None:
    listed = {"data": [SUCCEEDED], "has_more": False, "next_cursor": None}
    scripted.on("GET", "/v1/jobs", Answer(200, listed))
    assert "1 of 3 arms failed, best: fd_cmkd 90.0 ±1.0" in fdkd("jobs", "ls", COLUMNS="160").stdout


def test_whoever_downloads_the_student_of_a_comparison_is_told_where_it_is(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    child = {**CHILD, "id": "job_c", "name": "fd_cmkd", "state": "succeeded"}
    listed = {"data": [child], "has_more": False, "next_cursor": None}
    scripted.on("GET", "/v1/jobs/job_p/artifacts", Answer(200, {"data": []}))
    scripted.on("GET", "/v1/jobs/job_p", Answer(200, SUCCEEDED))
    scripted.on("GET", "/v1/jobs", Answer(200, listed))
    ran = fdkd("students", "download", "job_p", "-o", tmp_path / "s")
    assert ran.status != 0
    assert "The job job_p is a comparison" in " ".join(ran.stderr.split())
    assert "The best is that of job_c." in " ".join(ran.stderr.split())
