"""Diagnoses of data in which some training rows have nothing for the teacher to see."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from diagnosed import good_findings, small_diagnosis
from rich.console import Console
from rows_without import empty_cells, write_without
from scene_data import scene_spec, write_scenes
from small_job import write_small_data
from task_diagnoses import diagnose_task, planted_spec, write_planted
from unlabelled_data import take_labels

from fdkd_client.cli.diagnosis_view import diagnosis_view
from fdkd_core.console import show_result
from fdkd_core.data.dataset import load_dataset
from fdkd_core.diagnosis.wording import left_out
from fdkd_core.errors import IncompatibleError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import DiagnoseSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.findings import DiagnosisResult

OPTIONS = RunOptions(device="cpu", threads=1)
LACKING = range(0, 180, 2)
SHORT = {"epochs": 2, "batch_size": 16, "augment": "none"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz", rows=240)


def diagnose(spec: DiagnoseSpec, data: Path, out: Path, **hooks: Any) -> DiagnosisResult:
    result = run(spec, data, out, options=OPTIONS, **hooks)
    assert isinstance(result, DiagnosisResult)
    return result


def in_words(result: DiagnosisResult, out: Path) -> list[str]:
    """The report, and what is shown at a terminal by the core and by the client."""
    core, client = io.StringIO(), io.StringIO()
    show_result(Console(file=core, width=80), result, out)
    Console(file=client, width=80).print(diagnosis_view(result.model_dump(mode="json")))
    texts = [(out / "report" / "diagnosis.md").read_text(), core.getvalue(), client.getvalue()]
    return [" ".join(text.split()) for text in texts]


def test_they_are_left_out_and_counted(plain: Path, tmp_path: Path) -> None:
    data, events = write_without(tmp_path / "partly.parquet", plain, LACKING), []
    out = tmp_path / "out"
    result = diagnose(small_diagnosis(), data, out, on_event=events.append)
    found = result.findings
    assert (found.sample.fit_rows, found.sample.held_out_rows) == (102, 48)
    assert (found.sample.train_rows, found.sample.unpaired_rows) == (240, 90)
    assert "102 of 150 training rows" in found.networks[0].why
    assert "102 of 240 training rows" in found.networks[1].why
    assert [part.rows for part in found.pairing.repeats] == [150, 30, 30]
    assert found.pairing.repeats[0].teacher_samples == 0
    assert found.pairing.contradicting_rows == {"teacher": 0, "student": 0}
    assert found.pairing.leaks == []
    planned = {phase["name"]: phase["total_steps"] for phase in events[0]["phases"]}
    assert all(event["step"] <= planned[event["phase"]] for event in events if event["event"] == "step")
    for text in in_words(result, out):
        assert "90 of 240 training rows lack the teacher's modality and were left out." in text


def test_nothing_is_said_where_all_rows_are_pairs() -> None:
    assert left_out(good_findings().sample) == ""


@pytest.mark.parametrize(
    "kind",
    [
        "regression",
        *(pytest.param(kind, marks=pytest.mark.long) for kind in ("multilabel", "pair", "retrieval")),
    ],
)
def test_of_every_task(kind: str, tmp_path: Path) -> None:
    data = write_without(tmp_path / "partly.parquet", write_planted(tmp_path, kind), LACKING)
    spec = planted_spec(kind)
    result = diagnose_task(spec, data, tmp_path / "out")
    assert result.findings.sample.unpaired_rows == 90
    assert result.findings.headroom.gap > 0


@pytest.mark.long
def test_of_a_segmentation(tmp_path: Path) -> None:
    data = empty_cells(write_scenes(tmp_path / "scenes", 80), range(0, 30, 2), "colour")
    result = diagnose_task(scene_spec(training=SHORT), data, tmp_path / "out")
    assert result.findings.sample.unpaired_rows == 15
    assert result.findings.similarity.places == result.findings.sample.measured_rows


def test_beside_rows_without_a_label(plain: Path, tmp_path: Path) -> None:
    labelled = take_labels(tmp_path / "few.npz", plain, kept=120)
    data = write_without(tmp_path / "partly.parquet", labelled, range(60))
    found = diagnose(small_diagnosis(), data, tmp_path / "out").findings
    assert (found.sample.train_rows, found.sample.unpaired_rows) == (120, 60)
    assert {part.split: part.rows for part in found.pairing.repeats} == {
        "train": 60, "val": 30, "test": 30, "unlabelled": 120,
    }  # fmt: skip


def small_batches(batch_size: int, method: dict[str, Any]) -> DiagnoseSpec:
    """Of the teacher; the student's batches have more rows than there are pairs."""
    teacher = {
        "modality": "clean",
        "architecture": {"name": "mlp", "width": 8},
        "train": {**SHORT, "batch_size": batch_size},
    }
    return small_diagnosis(teacher=teacher, training={**SHORT, "batch_size": 32}, method=method)


@pytest.mark.parametrize(
    "method", [{"name": "fd_cmkd", "basis": "class"}, pytest.param({"name": "c2kd"}, marks=pytest.mark.long)]
)
def test_batches_may_be_larger_than_there_are_pairs(
    method: dict[str, Any], plain: Path, tmp_path: Path
) -> None:
    data = write_without(tmp_path / "partly.parquet", plain, range(228))
    found = diagnose(small_batches(8, method), data, tmp_path / "out").findings
    assert (found.sample.fit_rows, found.sample.held_out_rows) == (8, 4)
    assert {step.phase: step.batch_size for step in found.speed.steps} == {
        "teacher": 8, "student": 32, "control": 32,
    }  # fmt: skip
    numbers = [scan.fit for scan in found.pairing.alignment] + [m.value for m in found.similarity.measures]
    assert all(number == number for number in numbers)


def test_too_few_pairs_are_refused_before_anything_is_written(plain: Path, tmp_path: Path) -> None:
    data = write_without(tmp_path / "partly.parquet", plain, range(229))
    spec = small_batches(8, {"name": "logit_kd"})
    (problem,) = check(spec, load_dataset(data, None).report)
    assert (problem.code, problem.pointer) == ("dataset_too_small", "/dataset")
    assert problem.detail.endswith("at least 12 training rows with both modalities; found 11")
    with pytest.raises(IncompatibleError) as caught:
        run(spec, data, tmp_path / "out", options=OPTIONS)
    assert caught.value.problems == (problem,)
    assert not (tmp_path / "out").exists()
