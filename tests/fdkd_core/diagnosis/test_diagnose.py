"""Whole diagnoses of small data, through `run` and through the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diagnosed import good_findings, small_diagnosis
from rich.console import Console
from small_job import write_small_data
from warm_process import run_warm

from fdkd_core.__main__ import main
from fdkd_core.console import show_result
from fdkd_core.diagnosis.plots import render_plots
from fdkd_core.diagnosis.report import findings_csv, write_report
from fdkd_core.errors import TrainingInterrupted
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import load_spec
from fdkd_core.spec.findings import DiagnosisResult
from fdkd_core.spec.result import RunResult, parse_result

OPTIONS = RunOptions(device="cpu", threads=1)
PLOTS = {"similarity", "alignment", "headroom", "speed"}
PHASES = ["pairing", "teacher", "student", "similarity", "probes", "speed"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz", rows=240)


def diagnose(
    spec: Any, data: Path, out: Path, options: RunOptions = OPTIONS, **hooks: Any
) -> DiagnosisResult:
    result = run(spec, data, out, options=options, **hooks)
    assert isinstance(result, DiagnosisResult)
    return result


@pytest.fixture(scope="module")
def finished(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DiagnosisResult, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("run") / "out"
    events: list[dict[str, Any]] = []
    return out, diagnose(small_diagnosis(), data, out, on_event=events.append), events


def test_the_clear_modality_teaches_the_noisy_one(finished: Any) -> None:
    out, result, _ = finished
    assert parse_result((out / "result.json").read_bytes()) == result
    found = result.findings
    assert (found.sample.fit_rows, found.sample.train_rows, found.sample.test_rows) == (160, 240, 30)
    assert [network.how for network in found.networks] == ["trained", "trained"]
    assert found.headroom.teacher > found.headroom.student > found.headroom.chance
    assert {reason.rule: reason.speaks for reason in result.reasons}["headroom"] == "for"
    assert found.pairing.leaks == []
    assert [scan.best_shift for scan in found.pairing.alignment] == [0, 0, 0]
    # Both modalities are made from the class alone.
    assert not any(measured.is_above_within_class for measured in found.similarity.measures)
    assert result.verdict == "uncertain"


def test_it_says_what_the_job_would_cost(finished: Any) -> None:
    speed = finished[1].findings.speed
    assert [step.phase for step in speed.steps] == ["teacher", "student", "control"]
    assert all(step.timed_steps >= 5 and step.steps_per_s > 0 for step in speed.steps)
    assert [part.phase for part in speed.estimate] == [
        "loading", "teacher", "teacher outputs", "student", "control", "testing",
    ]  # fmt: skip
    assert speed.total_s == pytest.approx(sum(part.seconds for part in speed.estimate))
    for step in speed.steps:  # on a CPU batches are made on the cores that train
        assert 1.0 / step.steps_per_s == pytest.approx(step.batch_s + step.step_s)
    assert speed.method_overhead == pytest.approx(speed.steps[1].step_s / speed.steps[2].step_s)
    assert speed.peak_bytes > 50 * 2**20
    assert speed.growth_bytes <= speed.peak_bytes


def test_every_phase_is_told_and_planned(finished: Any) -> None:
    out, result, events = finished
    assert [e["phase"] for e in events if e["event"] == "phase_started"] == PHASES
    assert [e["phase"] for e in events if e["event"] == "phase_finished"] == PHASES
    planned = {phase["name"]: phase["total_steps"] for phase in events[0]["phases"]}
    assert list(planned) == PHASES
    assert all(len(name) <= 16 for name in planned)
    steps = [event for event in events if event["event"] == "step"]
    assert {event["phase"] for event in steps} == {"teacher", "student"}
    assert all(event["step"] <= planned[event["phase"]] for event in steps)
    assert [event["job_step"] for event in steps] == sorted(event["job_step"] for event in steps)
    assert events[-1]["event"] == "run_finished"


def test_the_report_is_complete(finished: Any) -> None:
    out, result, _ = finished
    plots = {
        f"{name}.{kind}"
        for name in ("similarity", "alignment", "headroom", "speed")
        for kind in ("png", "svg")
    }
    assert {path.name for path in (out / "report").iterdir()} == {"diagnosis.md", "findings.csv", *plots}
    text = (out / "report" / "diagnosis.md").read_text()
    assert text.startswith("# small diagnosis: uncertain\n")
    for reason in result.reasons:
        assert reason.text in text
    for name in plots:
        if name.endswith("png"):
            assert f"]({name})" in text
            assert (out / "report" / name).read_bytes().startswith(b"\x89PNG")
        else:
            assert b"<svg" in (out / "report" / name).read_bytes()[:1000]


@pytest.mark.long
def test_equal_seeds_give_equal_findings(finished: Any, data: Path, tmp_path: Path) -> None:
    first = finished[1]
    again = diagnose(small_diagnosis(), data, tmp_path / "again")
    assert again.findings.model_dump(exclude={"speed"}) == first.findings.model_dump(exclude={"speed"})
    assert (again.verdict, again.reasons) == (first.verdict, first.reasons)


@pytest.mark.long
def test_the_noisy_modality_has_nothing_to_teach_the_clear_one(data: Path, tmp_path: Path) -> None:
    training = small_diagnosis().training.model_dump(mode="json")
    training["optimizer"] = {"name": "adamw", "lr": 0.02}
    spec = small_diagnosis(
        teacher={
            "modality": "wave",
            "architecture": {"name": "conv1d", "width": 6, "depth": 2},
            "train": training,
        },
        student={"modality": "clean", "architecture": {"name": "mlp", "width": 8}},
        training=training,
        method={"name": "none"},
    )
    result = diagnose(spec, data, tmp_path / "out")
    assert result.verdict == "unpromising"
    assert next(r for r in result.reasons if r.rule == "headroom").speaks == "against"
    assert [step.phase for step in result.findings.speed.steps] == ["teacher", "student"]
    assert result.findings.speed.method_overhead is None


def test_a_column_that_slipped_by_a_row_is_found(data: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(data))
    arrays["clean"] = np.roll(arrays["clean"], 1, axis=0)
    arrays["wave"][-1], arrays["clean"][-2] = arrays["wave"][3], arrays["clean"][4]
    np.savez(tmp_path / "slipped.npz", **arrays)
    result = diagnose(small_diagnosis(), tmp_path / "slipped.npz", tmp_path / "out")
    assert result.verdict == "unpromising"
    shifts = {scan.what: scan.best_shift for scan in result.findings.pairing.alignment}
    assert shifts["label_from_teacher"] == 1
    assert shifts["label_from_student"] == 0
    assert "the teacher's column" in result.advice[0]
    leaks = {(leak.second_split, leak.part): leak.equal_rows for leak in result.findings.pairing.leaks}
    assert leaks == {("test", "teacher"): 1, ("test", "student"): 1}


@pytest.mark.long
def test_a_given_teacher_is_taken_as_it_is(data: Path, tmp_path: Path) -> None:
    training = small_diagnosis().training.model_dump(mode="json")
    train = {
        "kind": "train", "dataset": "small", "task": {"kind": "classification"}, "training": training,
        "export": {"onnx": False, "latency_s": 0.0},
        "student": {"modality": "clean", "architecture": {"name": "mlp", "width": 8}},
    }  # fmt: skip
    trained = run(load_spec(train), data, tmp_path / "teacher", options=OPTIONS)
    assert isinstance(trained, RunResult)
    options = RunOptions(device="cpu", threads=1, models={"t": tmp_path / "teacher" / "student"})
    spec = small_diagnosis(teacher={"modality": "clean", "model": "t"})
    result = diagnose(spec, data, tmp_path / "out", options)
    teacher = result.findings.networks[0]
    assert (teacher.how, teacher.steps, teacher.accuracy) == ("given", 0, trained.student.val.accuracy)
    assert result.findings.headroom.teacher == teacher.accuracy
    assert [step.phase for step in result.findings.speed.steps] == ["student", "control"]


def test_a_training_that_diverges_is_a_finding(data: Path, tmp_path: Path) -> None:
    training = small_diagnosis().training.model_dump(mode="json")
    training["optimizer"] = {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}
    training["epochs"] = 300
    teacher = {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": training}
    result = diagnose(small_diagnosis(teacher=teacher), data, tmp_path / "out")
    found = result.findings.networks[0]
    assert found.how == "untrained"
    assert "diverged" in found.why
    assert found.accuracy is None
    assert next(r for r in result.reasons if r.rule == "teacher").speaks == "unclear"
    (reason,) = (r for r in result.reasons if r.rule == "training")
    assert reason.speaks == "against"
    assert result.verdict == "unpromising"
    assert "Lower `teacher.train.optimizer.lr`, then diagnose again." in result.advice
    assert not any("Train the teacher as a job" in step for step in result.advice)


def test_a_student_whose_training_diverges_is_not_promising(data: Path, tmp_path: Path) -> None:
    """Its job would end in that; nothing else in the findings shows it."""
    good = small_diagnosis().training.model_dump(mode="json")
    teacher = {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": good}
    bad = {**good, "optimizer": {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}, "epochs": 300}
    result = diagnose(small_diagnosis(teacher=teacher, training=bad), data, tmp_path / "out")
    assert [network.diverged for network in result.findings.networks] == [False, True]
    assert result.verdict == "unpromising"
    assert "Lower `training.optimizer.lr`, then diagnose again." in result.advice
    (reason,) = (r for r in result.reasons if r.rule == "similarity")
    assert "student's features at its initial weights" in reason.text or "student's inputs" in reason.text


def test_a_combination_is_measured_by_the_bands_of_its_fd_cmkd(data: Path, tmp_path: Path) -> None:
    parts = [
        {"method": {"name": "logit_kd"}},
        {"method": {"name": "fd_cmkd", "basis": "class", "cutoff": 0.2}},
    ]
    result = diagnose(small_diagnosis(method={"name": "combine", "parts": parts}), data, tmp_path / "out")
    found = result.findings.similarity
    assert (found.basis, found.cutoff) == ("class", 0.2)
    assert "bands" in {reason.rule for reason in result.reasons}


@pytest.mark.long
@pytest.mark.parametrize("phase", ["pairing", "teacher", "speed"])
def test_a_stop_is_honoured_between_sections_and_the_next_run_starts_over(
    phase: str, data: Path, tmp_path: Path
) -> None:
    started: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "phase_started":
            started.append(event["phase"])

    with pytest.raises(TrainingInterrupted):
        diagnose(small_diagnosis(), data, tmp_path, on_event=note, should_stop=lambda: phase in started)
    assert started[-1] == phase
    assert not (tmp_path / "result.json").exists()
    if phase == "speed":
        assert diagnose(small_diagnosis(), data, tmp_path, on_event=note).verdict == "uncertain"
        assert started[len(PHASES) :] == PHASES


def test_the_console_shows_verdict_and_figures_in_80_columns(finished: Any) -> None:
    out, result, _ = finished
    written = io.StringIO()
    show_result(Console(file=written, width=80), result, Path("out"))
    lines = written.getvalue().splitlines()
    assert lines[0] == "small diagnosis: uncertain"
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for reason in result.reasons:
        assert reason.text in text
    assert "Steps/s" in text
    assert "out/report/diagnosis.md" in text


@pytest.mark.long
def test_the_command_line_diagnoses(data: Path, tmp_path: Path) -> None:
    spec, out = tmp_path / "spec.yaml", tmp_path / "out"
    spec.write_text(yaml.safe_dump(small_diagnosis().model_dump(mode="json")))
    done = run_warm(main, spec, data, out, "--threads", "1", "--device", "cpu", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("small diagnosis: uncertain\n")
    assert "checking the pairs" in done.stderr
    assert json.loads((out / "result.json").read_text())["kind"] == "diagnose"


def test_equal_results_give_equal_files(finished: Any, tmp_path: Path) -> None:
    out, result, _ = finished
    write_report(tmp_path, result)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (out / "report" / path.name).read_bytes()


def test_findings_are_a_table_of_named_figures() -> None:
    rows = list(csv.reader(io.StringIO(findings_csv(good_findings()))))
    assert rows[0] == ["section", "figure", "value"]
    figures = {(section, figure): value for section, figure, value in rows[1:]}
    assert len(figures) == len(rows) - 1
    assert figures["headroom", "gap"] == "0.4"
    assert figures["similarity", "measures[low inputs r2].shuffled.high"] == "0.01"
    assert figures["pairing", "alignment[teacher_from_student].shifts[1].is_better"] == "1"
    assert ("pairing", "alignment[label_from_student].shuffled_within_class") not in figures


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_findings_with_little_in_them_can_be_drawn(kind: str) -> None:
    """No measures, no probes, no steps, and a name with characters that no font has."""
    findings = good_findings(similarity={"measures": []})
    teacher = findings.networks[0].model_copy(update={"modality": "\u8072\u97f3"})
    findings = findings.model_copy(update={"networks": [teacher, findings.networks[1]]})
    assert set(render_plots(findings, kind)) == PLOTS


@pytest.mark.long
def test_a_lead_is_as_uncertain_as_its_groups(
    data: Path, finished: tuple[Path, DiagnosisResult, list[dict[str, Any]]], tmp_path: Path
) -> None:
    with np.load(data) as found:
        arrays = dict(found)
    # By class: which of them the student mistakes is much the same within one.
    pairs = zip(arrays["split"], arrays["label"], strict=True)
    arrays["group"] = np.array([f"{split}-{label}" for split, label in pairs])
    np.savez(tmp_path / "grouped.npz", **arrays)
    by_group = diagnose(small_diagnosis(), tmp_path / "grouped.npz", tmp_path / "out").findings.headroom
    by_row = finished[1].findings.headroom
    assert by_group.gap == by_row.gap
    assert by_group.standard_error > by_row.standard_error
