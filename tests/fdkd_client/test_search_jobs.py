"""A job with `method: auto` through a real server: from the command to the finalists and the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fdkd_command import fdkd
from local_server import LocalServer
from small_job import small_spec, write_small_data

QUICK = {"epochs": 4, "batch_size": 32, "augment": "none"}
SEARCH = {"name": "auto", "methods": [{"name": "logit_kd"}], "trials": 4, "finalists": 1, "seeds": 2}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    started = LocalServer(tmp_path / "server")
    monkeypatch.setenv("FDKD_URL", started.url)
    monkeypatch.setenv("FDKD_API_KEY", started.key)
    yield started
    started.close()


@pytest.mark.slow
def test_a_search_over_http(server: LocalServer, tmp_path: Path) -> None:
    path = write_small_data(tmp_path / "small.npz")
    made = fdkd("datasets", "create", path, "--name", "small", "--wait")
    assert made.status == 0, made.stderr
    teacher = {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": QUICK}
    wanted = small_spec(teacher=teacher, training=QUICK, method=SEARCH)
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(wanted.model_dump(mode="json", exclude_unset=True)))
    ran = fdkd("jobs", "run", spec, "--wait", "--output", "json")
    assert ran.status == 0, ran.stderr
    job = json.loads(ran.stdout)
    found = job["result"]["auto"]
    assert [tried["label"] for tried in found["configurations"]] == ["no_teacher", "logit_kd"] * 2
    assert [finalist["label"] for finalist in found["finalists"]] == ["no_teacher", "logit_kd"]
    assert all(len(finalist["runs"]) == 2 for finalist in found["finalists"])

    shown = fdkd("jobs", "show", job["id"])
    told = " ".join(shown.stdout.split())
    trainings = sum(len(tried["rungs"]) for tried in found["configurations"])
    assert f"4 configurations in {trainings} short trainings" in told
    assert found["reason"] in told
    rows = {line.split()[0]: line.split() for line in shown.stdout.splitlines() if line.strip()}
    for finalist in found["finalists"]:
        assert f"{100 * finalist['val']:.1f}" in rows[finalist["label"]]
        assert rows[finalist["label"]][-1] == f"{100 * finalist['test']['mean']:.1f}"

    listed = fdkd("jobs", "artifacts", job["id"]).stdout
    assert all(f"report/search.{kind}" in listed for kind in ("csv", "md", "png", "svg"))
    fetched = fdkd("jobs", "artifacts", job["id"], "-o", tmp_path / "files")
    assert fetched.status == 0, fetched.stderr
    report = tmp_path / "files" / "report"
    assert found["reason"] in (report / "search.md").read_text().replace("\\", "")
    with (report / "search.csv").open(newline="") as file:
        tried = list(csv.DictReader(file))
    assert len(tried) == trainings + 2
    (won,) = (row for row in tried if row["outcome"] == "handed over")
    assert won["label"] == found["winner_label"]
    assert (report / "search.png").read_bytes().startswith(b"\x89PNG")
