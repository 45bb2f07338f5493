"""The kind `compare` in one process, and concluded from arms that were run elsewhere."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from small_job import STEPS_PER_PHASE, WITH_ONNX, small_comparison, write_small_data

from fdkd_core import teacher_cache
from fdkd_core.__main__ import main
from fdkd_core.console import show_result
from fdkd_core.errors import EveryMethodFailedError, FDKDError, SpecError, TrainingDivergedError
from fdkd_core.job_run import JobRun
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec.compare import arms
from fdkd_core.spec.result import CompareResult, StudyResult, parse_result
from fdkd_core.studies import elsewhere
from fdkd_core.training.evaluation import predict_rows

OPTIONS = RunOptions(device="cpu", threads=1)
LABELS = ["no_teacher", "logit_kd", "logit_kd shuffled_pairs"]
FOLDERS = ["no_teacher", "logit_kd", "logit_kd-shuffled_pairs"]
TRAININGS = ["trial-0", "trial-1", "seed-1", "seed-2"]
REPORT = ["comparison.csv", "comparison.md", "comparison.png", "comparison.svg"]

Finished = tuple[Path, CompareResult, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("run") / "out"
    events: list[dict[str, Any]] = []
    result = run(small_comparison(**WITH_ONNX), data, out, options=OPTIONS, on_event=events.append)
    assert isinstance(result, CompareResult)
    return out, result, events


def arm_result(out: Path, folder: str) -> StudyResult:
    found = parse_result((out / "arms" / folder / "result.json").read_bytes())
    assert isinstance(found, StudyResult)
    return found


def figures(result: StudyResult) -> dict[str, Any]:
    """What a study found, without times and names."""
    dump = result.model_dump(
        mode="json", include={"method", "lr", "trials", "runs", "teacher_view", "student"}
    )
    for part in (*dump["trials"], *dump["runs"], dump["student"]):
        del part["seconds"]
    return dump


def test_every_arm_has_the_same_trials_and_seeds(finished: Finished) -> None:
    _, result, _ = finished
    assert [arm.label for arm in result.arms] == LABELS
    assert {arm.trials for arm in result.arms} == {2}
    assert all([run.seed for run in arm.runs] == [1, 2] for arm in result.arms)
    assert all(arm.difference is not None for arm in result.arms[1:])
    rates = [[t.lr for t in arm_result(finished[0], folder).trials] for folder in FOLDERS]
    assert rates[0] == rates[1] == rates[2]


def test_the_interval_of_a_difference_is_over_seeds_and_test_rows(finished: Finished) -> None:
    out, result, _ = finished
    assert result.intervals == "seeds and test rows"
    control = arm_result(out, FOLDERS[0]).test_rows
    assert control is not None
    for arm, folder in zip(result.arms[1:], FOLDERS[1:], strict=True):
        rows = arm_result(out, folder).test_rows
        assert rows is not None
        differences = np.subtract(rows.shares, control.shares)  # of few rows each is a block
        assert arm.row_error == pytest.approx(differences.std(ddof=1) / len(differences) ** 0.5)
        assert arm.difference is not None
        assert arm.over_seeds is not None
        halves = [found.high - found.mean for found in (arm.difference, arm.over_seeds)]
        of_rows = stats.t.ppf(0.975, len(differences) - 1) * arm.row_error
        assert halves[0] == pytest.approx((halves[1] ** 2 + of_rows**2) ** 0.5)
        assert halves[0] > halves[1]


def test_the_output_folder_holds_report_teacher_and_the_best_arms_student(finished: Finished) -> None:
    out, result, _ = finished
    assert json.loads((out / "result.json").read_text()) == result.model_dump(mode="json")
    assert {path.name for path in out.iterdir()} == {
        "job.json", "data_report.json", "events.jsonl", "teacher", "student", "report", "arms", "result.json",
        ".lock",
    }  # fmt: skip
    assert sorted(path.name for path in (out / "report").iterdir()) == REPORT
    assert sorted(path.name for path in (out / "arms").iterdir()) == sorted(FOLDERS)
    assert (out / "student" / "model.onnx").exists()
    assert not list((out / "arms").rglob("model.onnx"))
    assert not list(out.rglob("work"))
    assert result.best is not None
    best = out / "arms" / FOLDERS[LABELS.index(result.best)] / "student" / "model.safetensors"
    assert (out / "student" / "model.safetensors").read_bytes() == best.read_bytes()


def test_events_follow_the_plan(finished: Finished) -> None:
    _, _, events = finished
    wanted = ["teacher", *(f"arm{arm}-{name}" for arm in range(3) for name in TRAININGS)]
    assert [phase["name"] for phase in events[0]["phases"]] == wanted
    phases = [event["phase"] for event in events if event["event"] == "phase_started"]
    assert phases == [*wanted, "finalise"]
    steps = [event["job_step"] for event in events if event["event"] == "step"]
    assert steps == sorted(steps)
    assert steps[-1] == 13 * STEPS_PER_PHASE
    started = [event for event in events if event["event"] == "arm_started"]
    assert [(event["arm"], event["label"]) for event in started] == [
        (f"arm{index}-", label) for index, label in enumerate(LABELS)
    ]


@pytest.mark.parametrize("label", LABELS)
def test_an_arm_is_the_study_that_a_service_would_run(
    label: str, finished: Finished, data: Path, tmp_path: Path
) -> None:
    """By itself, with the teacher that the comparison trained: the same numbers, the same weights."""
    out, _, _ = finished
    study = arms(small_comparison(), "the-teacher")[label]
    options = RunOptions(device="cpu", threads=1, models={"the-teacher": out / "teacher"})
    alone = run(study, data, tmp_path / "out", options=options)
    assert isinstance(alone, StudyResult)
    assert figures(alone) == figures(arm_result(out, FOLDERS[LABELS.index(label)]))


def test_a_comparison_asks_its_teacher_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, int]] = []

    def predict(model: Any, modality: Any, rows: Any, device: Any) -> Any:
        asked.append((model, len(rows)))
        return predict_rows(model, modality, rows, device)

    monkeypatch.setattr(teacher_cache, "predict_rows", predict)
    spec = small_comparison(
        methods=[{"name": "logit_kd"}, {"name": "feature_mse"}, {"name": "fd_cmkd"}],
        fake_teachers=["shuffled_pairs", "untrained_teacher", "permuted_channels"],
        tuning={"trials": 1}, seeds=1,
    )  # fmt: skip
    result = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, CompareResult)
    assert len(result.arms) == 7
    assert all(arm.error is None for arm in result.arms)
    # The teacher, and its untrained twin, of each of the 96 training rows.
    assert [rows for _, rows in asked] == [96, 96]
    assert asked[0][0] is not asked[1][0]


def arms_file(out: Path, result: CompareResult, target: Path, **replaced: Any) -> Path:
    found = {
        label: arm_result(out, folder).model_dump(mode="json")
        for label, folder in zip(LABELS, FOLDERS, strict=True)
    }
    assert result.teacher is not None
    document = {"teacher": result.teacher.model_dump(mode="json"), "arms": {**found, **replaced}}
    target.write_text(json.dumps(document))
    return target


def test_arms_that_were_run_elsewhere_are_only_concluded(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, result, _ = finished
    monkeypatch.setattr("fdkd_core.run.load_data", lambda *args: pytest.fail("the data were read"))
    options = RunOptions(device="cpu", threads=1, arm_results=arms_file(out, result, tmp_path / "arms.json"))
    events: list[dict[str, Any]] = []
    there = run(
        small_comparison(**WITH_ONNX),
        Path("nowhere"),
        tmp_path / "out",
        options=options,
        on_event=events.append,
    )
    assert isinstance(there, CompareResult)
    different = {"seconds", "bundle", "export"}  # a student that lies elsewhere
    assert there.model_dump(exclude=different) == result.model_dump(exclude=different)
    assert there.bundle is None
    assert result.teacher is not None
    ran = result.teacher.seconds + sum(arm_result(out, folder).seconds for folder in FOLDERS)
    assert ran < there.seconds < ran + 60  # the conclusion by itself takes a moment
    for name in REPORT:
        assert (tmp_path / "out" / "report" / name).read_bytes() == (out / "report" / name).read_bytes(), name
    assert [event["event"] for event in events] == ["run_started", "phase_started", "run_finished"]
    assert run(small_comparison(**WITH_ONNX), Path("nowhere"), tmp_path / "out", options=options) == there


def test_the_command_concludes_arms_without_data(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, result, _ = finished
    spec, path = tmp_path / "spec.json", arms_file(out, result, tmp_path / "arms.json")
    spec.write_text(small_comparison().model_dump_json())
    arguments = [str(spec), "nowhere", str(tmp_path / "out"), "--arms", str(path), "--quiet"]
    assert main(arguments) == 0
    assert "the control" in capsys.readouterr().out
    path.write_text("{}")
    assert main([*arguments[:2], str(tmp_path / "bad"), *arguments[3:]]) == 2
    (problem,) = json.loads((tmp_path / "bad" / "report.json").read_text())["problems"]
    assert problem["code"] == "invalid_arms"


def test_an_arm_that_failed_elsewhere_has_its_reason(finished: Finished, tmp_path: Path) -> None:
    out, result, _ = finished
    path = arms_file(out, result, tmp_path / "arms.json", **{LABELS[2]: {"error": "diverged: too fast"}})
    there = elsewhere.run_elsewhere(small_comparison(), path, tmp_path / "out", lambda event: None)
    assert isinstance(there, CompareResult)
    assert there.arms[2].error == "diverged: too fast"
    assert there.arms[1].difference == result.arms[1].difference


def test_without_a_method_with_figures_elsewhere_it_fails(finished: Finished, tmp_path: Path) -> None:
    out, result, _ = finished
    path = arms_file(out, result, tmp_path / "arms.json", logit_kd={"error": "diverged: too fast."})
    options = RunOptions(device="cpu", threads=1, arm_results=path)
    with pytest.raises(EveryMethodFailedError) as caught:
        run(small_comparison(), Path("nowhere"), tmp_path / "out", options=options)
    assert caught.value.reasons == {"logit_kd": "diverged: too fast."}
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_control_of_an_earlier_release_that_is_none_is_not_looked_at(
    finished: Finished, tmp_path: Path
) -> None:
    """A comparison that was posted before an upgrade has it among its children, and must come to its end."""
    out, result, _ = finished
    path = arms_file(out, result, tmp_path / "arms.json")
    document = json.loads(path.read_text())
    document["arms"]["logit_kd permuted_channels"] = document["arms"]["logit_kd"]
    path.write_text(json.dumps(document))
    there = elsewhere.run_elsewhere(small_comparison(), path, tmp_path / "out", lambda event: None)
    assert isinstance(there, CompareResult)
    assert there.arms == result.arms


def without(label: str, document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "arms": {name: arm for name, arm in document["arms"].items() if name != label}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: without("logit_kd", d), "no result for the arm 'logit_kd'"),
        (lambda d: {**d, "arms": {**d["arms"], "dist": {"error": "x"}}}, "has no arm 'dist'"),
        (
            lambda d: {**d, "arms": {**d["arms"], "logit_kd": d["arms"]["no_teacher"]}},
            "of another method or view",
        ),
        (
            lambda d: {**d, "arms": {**d["arms"], "logit_kd": {**d["arms"]["logit_kd"], "data_sha256": "x"}}},
            "on different data",
        ),
        (lambda d: {"arms": 3}, "/arms"),
        (lambda d: [], "invalid_arms"),
    ],
)
def test_a_file_of_arms_that_does_not_fit_is_refused(
    change: Any, message: str, finished: Finished, tmp_path: Path
) -> None:
    out, result, _ = finished
    path = arms_file(out, result, tmp_path / "arms.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(SpecError, match=message):
        elsewhere.run_elsewhere(small_comparison(), path, tmp_path / "out", lambda event: None)
    assert not (tmp_path / "out").exists()


def test_arms_are_for_comparisons_alone(finished: Finished, tmp_path: Path) -> None:
    spec = arms(small_comparison(), None)["logit_kd"]
    with pytest.raises(SpecError, match="found study"):
        elsewhere.run_elsewhere(spec, tmp_path / "arms.json", tmp_path / "out", lambda event: None)
    with pytest.raises(SpecError, match="cannot read"):
        elsewhere.run_elsewhere(small_comparison(), tmp_path / "no.json", tmp_path / "out", lambda e: None)


class DeadError(BaseException):
    """Ends a run wherever it is."""


@pytest.mark.parametrize("phase", ["arm1-trial-1", "finalise"])
def test_a_comparison_resumes_to_the_same_result(
    phase: str, finished: Finished, data: Path, tmp_path: Path
) -> None:
    _, result, _ = finished
    events: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "phase_started" and event["phase"] == phase:
            raise DeadError

    with pytest.raises(DeadError):
        run(small_comparison(), data, tmp_path / "out", options=OPTIONS, on_event=on_event)
    again = run(small_comparison(), data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    started = [event["phase"] for event in events if event["event"] == "phase_started"]
    assert started[1 if started[0] == "teacher" else 0] == phase
    assert isinstance(again, CompareResult)

    def numbers(found: CompareResult) -> Any:
        return [
            (
                arm.label,
                arm.lr,
                arm.parameters,
                arm.difference,
                arm.p_value,
                [(r.val, r.test) for r in arm.runs],
            )
            for arm in found.arms
        ]

    assert numbers(again) == numbers(result)
    assert (again.best, again.summary) == (result.best, result.summary)


def test_an_arm_that_diverges_leaves_the_others_alone(
    finished: Finished, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected, _ = finished
    real = JobRun.run_phase
    tried: list[str] = []

    def run_phase(self: JobRun, phase: Any, steps_before: int) -> Any:
        tried.append(self.phase_prefix + phase.name)
        if tried[-1] == "arm2-seed-2":
            raise TrainingDivergedError(5, "kd", float("inf"))
        if tried[-1] == "arm3-trial-1" and tried.count("arm3-trial-1") == 1:
            raise DeadError
        return real(self, phase, steps_before)

    monkeypatch.setattr(JobRun, "run_phase", run_phase)
    spec = small_comparison(methods=[{"name": "logit_kd"}, {"name": "feature_mse"}])
    with pytest.raises(DeadError):
        run(spec, data, tmp_path / "out", options=OPTIONS)
    result = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, CompareResult)
    assert result.arms[2].error is not None
    assert "in the run with seed 2: loss term 'kd' became inf" in result.arms[2].error
    assert tried.count("arm2-seed-2") == 1  # what failed is not tried again
    assert not list((tmp_path / "out").glob("arms/*/work"))  # and leaves no weights behind
    assert [result.arms[i].difference for i in (1, 3)] == [arm.difference for arm in expected.arms[1:]]
    assert result.best != "feature_mse"


@pytest.mark.parametrize(
    ("diverges", "kind", "words"),
    [
        (
            "arm0-seed-1",
            TrainingDivergedError,
            "task",
        ),  # the control; as in a service, where it is `child_failed`
        ("arm1-seed-1", EveryMethodFailedError, r"logit_kd \(diverged: "),
    ],
)
def test_without_its_control_or_any_method_there_is_nothing_to_compare(
    diverges: str,
    kind: type[FDKDError],
    words: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = JobRun.run_phase
    tried: list[str] = []

    def run_phase(self: JobRun, phase: Any, steps_before: int) -> Any:
        tried.append(self.phase_prefix + phase.name)
        if tried[-1] == diverges:
            raise TrainingDivergedError(5, "task", float("nan"))
        return real(self, phase, steps_before)

    monkeypatch.setattr(JobRun, "run_phase", run_phase)
    for _ in range(2):  # once more in the same folder
        with pytest.raises(kind, match=words):
            run(small_comparison(), data, tmp_path / "out", options=OPTIONS)
    if kind is TrainingDivergedError:  # no other arm is trained
        assert tried[-1] == diverges
    else:  # what failed is not tried again
        assert tried.count(diverges) == 1
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_table_fits_80_columns_and_says_what_the_result_says(finished: Finished) -> None:
    _, result, _ = finished
    shown = io.StringIO()
    show_result(Console(width=80, file=shown), result, Path("out"))
    assert max(len(line) for line in shown.getvalue().splitlines()) <= 80
    assert "…" not in shown.getvalue()
    for word in (
        "time",
        "no_teacher",
        "shuffled_pairs",
        "the control",
        "out/report/comparison.md",
        "out/student",
    ):
        assert word in shown.getvalue()
    assert " ".join(result.summary[0].split()[:4]) in shown.getvalue()


def test_the_csv_agrees_with_the_result(finished: Finished) -> None:
    out, result, _ = finished
    with (out / "report" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for arm in result.arms:
        found = [float(row["test_metric"]) for row in rows if row["method"] == arm.label]
        assert found == [pytest.approx(run.test.accuracy, abs=1e-4) for run in arm.runs]
        assert {row["direction"] for row in rows} == {result.name}
