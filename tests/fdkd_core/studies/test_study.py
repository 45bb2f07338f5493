"""The kind `study` on data that train in a second."""

from __future__ import annotations

import csv
import io
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import run_and_die
from rich.console import Console
from small_job import STEPS_PER_PHASE, small_study, write_small_data
from warm_process import run_warm

import fdkd_core
from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import IncompatibleError, TrainingDivergedError, TrainingInterrupted
from fdkd_core.job_run import JobRun
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import StudyResult
from fdkd_core.spec.task_fit import CHANGED_OUTPUTS
from fdkd_core.studies.console import show_study
from fdkd_core.studies.outcomes import Outcomes
from fdkd_core.studies.statistics import estimate
from fdkd_core.studies.study import FAKES
from fdkd_core.training import checkpoint

OPTIONS = RunOptions(device="cpu", threads=1)
PHASES = ["teacher", "trial-0", "trial-1", "trial-2", "seed-1", "seed-2", "finalise"]
EXPLODING = {"name": "feature_mse", "normalize": False, "weight": 1e6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


Finished = tuple[Path, StudyResult, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("run") / "out"
    events: list[dict[str, Any]] = []
    result = run(small_study(), data, out, options=OPTIONS, on_event=events.append)
    assert isinstance(result, StudyResult)
    return out, result, events


def fingerprint(out: Path) -> dict[str, Any]:
    """All that must not depend on interruptions."""

    def without_seconds(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_seconds(v) for name, v in value.items() if name != "seconds"}
        return [without_seconds(v) for v in value] if isinstance(value, list) else value

    manifest = json.loads((out / "student" / "manifest.json").read_text())
    return {
        "result": without_seconds(json.loads((out / "result.json").read_text())),
        "weights": manifest["files"]["model.safetensors"],
    }


def test_a_study_has_trials_runs_and_the_best_of_both(finished: Finished) -> None:
    out, result, _ = finished
    assert json.loads((out / "result.json").read_text()) == result.model_dump(mode="json")
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    values = [trial.val.accuracy for trial in result.trials if trial.val is not None]
    best = result.trials[values.index(max(values))]
    assert result.lr == best.lr
    assert {name: result.method[name] for name in best.parameters} == best.parameters
    assert [run.seed for run in result.runs] == [1, 2]
    handed_over = max(result.runs, key=lambda run: run.val.accuracy)
    assert (result.student.val, result.student.test) == (handed_over.val, handed_over.test)
    assert result.student.best_epoch == handed_over.best_epoch
    assert result.teacher is not None
    assert result.teacher.test.accuracy > 0.8


def test_a_study_says_what_chance_has(finished: Finished, data: Path) -> None:
    with np.load(data) as arrays:
        labels, split = arrays["label"], arrays["split"]
    frequent = np.bincount(labels[split == "train"]).argmax()
    assert finished[1].chance == (labels[split == "test"] == frequent).mean()


def test_a_study_says_what_each_test_row_adds(finished: Finished, data: Path) -> None:
    result = finished[1]
    rows = result.test_rows
    assert rows is not None
    with np.load(data) as arrays:
        assert sum(rows.rows) == (arrays["split"] == "test").sum()
    accuracy = np.mean([run.test.accuracy for run in result.runs])
    assert sum(rows.shares) / sum(rows.rows) == pytest.approx(accuracy)
    assert sum(rows.chance) / sum(rows.rows) == pytest.approx(result.chance)
    assert (rows.groups, rows.num_groups, rows.grouped_by) == (None, None, None)
    assert (result.metric, result.intervals) == ("accuracy", "seeds and test rows")
    assert result.test is not None
    assert result.test.mean == pytest.approx(accuracy)
    over_seeds = estimate([run.test.accuracy for run in result.runs])
    assert result.test.high - result.test.mean > over_seeds.high - over_seeds.mean


def test_what_to_expect_is_said_on_the_terminal_and_on_the_card(finished: Finished) -> None:
    out, result, _ = finished
    assert result.test is not None
    low, high = (f"{100 * min(max(bound, 0.0), 1.0):.1f}" for bound in (result.test.low, result.test.high))
    expected = f"{100 * result.test.mean:.1f} % (95 % interval {low} to {high} over seeds and test rows)"
    text = io.StringIO()
    show_study(Console(file=text, width=80), result, out)
    assert f"test accuracy: {expected}" in " ".join(text.getvalue().split())
    card = " ".join((out / "student" / "README.md").read_text().split())
    assert f"Over all seeds, test accuracy is {expected}\\: expect that of another" in card


def test_runs_that_an_earlier_release_did_have_no_rows(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them are in the outcomes is all that is asked."""
    read = Outcomes.read_shares
    monkeypatch.setattr(
        Outcomes, "read_shares", lambda self, phase: None if phase == "seed-1" else read(self, phase)
    )
    result = run(small_study(), data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, StudyResult)
    assert result.test_rows is None
    assert result.intervals == "seeds"


def test_the_output_folder_holds_what_it_should(finished: Finished) -> None:
    out, result, _ = finished
    assert {path.name for path in out.iterdir()} == {
        "job.json", "data_report.json", "events.jsonl", "teacher", "student", "report", "result.json",
        ".lock",
    }  # fmt: skip
    rows = list(csv.DictReader((out / "report" / "trials.csv").read_text().splitlines()))
    assert [float(row["lr"]) for row in rows] == [trial.lr for trial in result.trials]
    card = (out / "student" / "README.md").read_text()
    assert "## How it was chosen" in card
    assert "Of 3 trials one was taken" in card


def test_a_study_says_how_its_rows_were_paired(finished: Finished, data: Path, tmp_path: Path) -> None:
    assert [rows.paired_rows for rows in finished[1].taught] == [96]
    spec = small_study(paired_fraction=0.5, tuning={"trials": 1}, seeds=1)
    result = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, StudyResult)
    paired = result.taught[0].paired_rows
    assert 40 < paired < 60
    told = f"{paired} of 96 training rows have a view of the teacher; from the others the student learnt"
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert told in printed(result)
    assert told in card.replace("\\", "")
    for text in (printed(finished[1]), (finished[0] / "student" / "README.md").read_text()):
        assert "from the others" not in text


def printed(result: StudyResult) -> str:
    shown = io.StringIO()
    show_study(Console(file=shown, width=200), result, Path("out"))
    return shown.getvalue()


def test_the_bundle_predicts_what_the_result_claims(finished: Finished, data: Path) -> None:
    out, result, _ = finished
    arrays = np.load(data)
    test = arrays["split"] == "test"
    student = fdkd_core.load_student(out / "student")
    predictions = student.predict_many(list(arrays["wave"][test]))
    labels = [str(label) for label in arrays["label"][test]]
    right = np.mean([found.label == label for found, label in zip(predictions, labels, strict=True)])
    assert right == pytest.approx(result.student.test.accuracy)


def test_events_follow_the_plan(finished: Finished) -> None:
    _, _, events = finished
    phases = [event["phase"] for event in events if event["event"] == "phase_started"]
    assert phases == PHASES
    planned = events[0]["phases"]
    assert [phase["name"] for phase in planned] == PHASES[:-1]
    assert [phase["total_steps"] for phase in planned] == [STEPS_PER_PHASE] * 6
    assert all(len(phase["name"]) <= 16 for phase in planned)
    steps = [event["job_step"] for event in events if event["event"] == "step"]
    assert steps == sorted(steps)
    assert steps[-1] == 6 * STEPS_PER_PHASE


def test_the_control_has_as_many_trials_over_rates_alone_and_no_teacher(data: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    spec = small_study(method={"name": "none"})
    result = run(spec, data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(result, StudyResult)
    assert len(result.trials) == 3
    assert all(trial.parameters == {} for trial in result.trials)
    assert result.teacher is None
    assert result.teacher_bundle is None
    assert "teacher" not in {event.get("phase") for event in events}


class DeadError(BaseException):
    """Ends a run wherever it is, with nothing written that was not written before."""


@pytest.mark.parametrize(
    ("kind", "phase", "step"),
    [
        ("die", "teacher", 9),
        ("stop", "trial-0", 0),
        ("die", "trial-1", 8),
        ("stop", "trial-2", 17),
        ("die", "seed-1", 0),
        ("die", "seed-2", 10),
    ],
)
def test_a_study_resumes_to_the_same_numbers(
    kind: str,
    phase: str,
    step: int,
    finished: Finished,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "MIN_COST_RATIO", 0.0)
    events: list[dict[str, Any]] = []
    here = ["", 0]

    def on_event(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "phase_started":
            here[:] = [event["phase"], event["step"]]

    def should_stop() -> bool:
        now, here[1] = here[1], here[1] + 1
        if (here[0], now) != (phase, step):
            return False
        if kind == "die":
            raise DeadError
        return True

    out = tmp_path / "out"
    with pytest.raises(DeadError if kind == "die" else TrainingInterrupted):
        run(small_study(), data, out, options=OPTIONS, on_event=on_event, should_stop=should_stop)
    assert not (out / "result.json").exists()
    events.clear()
    run(small_study(), data, out, options=OPTIONS, on_event=events.append)
    assert fingerprint(out) == fingerprint(finished[0])
    assert not (out / "work").exists()
    started = {e["phase"]: e["step"] for e in events if e["event"] == "phase_started"}
    # What had ended is not done again; what had not goes on from its checkpoint.
    assert [name for name in started if name != "teacher"] == PHASES[max(1, PHASES.index(phase)) :]
    assert started[phase] == (step if kind == "stop" else step - step % 7)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["trial-1:checkpoint", "bundle"])
def test_a_killed_study_resumes_to_the_same_numbers(
    moment: str, finished: Finished, data: Path, tmp_path: Path
) -> None:
    out, spec = tmp_path / "out", tmp_path / "spec.json"
    spec.write_text(small_study().model_dump_json())
    killed = run_warm(run_and_die.main, data, out, moment, spec)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run(small_study(), data, out, options=OPTIONS)
    assert fingerprint(out) == fingerprint(finished[0])


def test_the_teachers_outputs_are_computed_once_for_all_studies(
    finished: Finished, data: Path, tmp_path: Path
) -> None:
    """The cache changes nothing but the time."""
    out, _, _ = finished
    options = RunOptions(
        device="cpu", threads=1, teacher_cache_dir=tmp_path / "cache", models={"teacher": out / "teacher"}
    )
    changes: dict[str, Any] = {"teacher": {"modality": "clean", "model": "teacher"}, "tuning": {"trials": 1}}
    found = [
        run(small_study(**changes, seeds=1), data, tmp_path / name, options=options) for name in ("a", "b")
    ]
    plain = run(
        small_study(**changes, seeds=1), data, tmp_path / "c",
        options=RunOptions(device="cpu", threads=1, models=options.models),
    )  # fmt: skip
    assert len(list((tmp_path / "cache").iterdir())) == 1
    hashes = {result.student.weights_sha256 for result in (*found, plain) if isinstance(result, StudyResult)}
    assert len(hashes) == 1


def test_fake_teachers_teach_something_else(data: Path, tmp_path: Path) -> None:
    found = {}
    for view in ("paired", "shuffled_pairs", "permuted_channels", "untrained_teacher"):
        spec = small_study(teacher_view=view, tuning={"trials": 1}, seeds=1)
        result = run(spec, data, tmp_path / view, options=OPTIONS)
        assert isinstance(result, StudyResult)
        assert result.teacher_view == view
        assert result.teacher is not None
        assert result.teacher.test.accuracy > 0.8  # the real one is what is reported
        found[view] = result.student.weights_sha256
    assert len(set(found.values())) == 4


COMBINED_WITH_C2KD = {
    "name": "combine",
    "parts": [{"method": {"name": "logit_kd"}}, {"method": {"name": "c2kd"}}],
}


@pytest.mark.parametrize("view", list(FAKES))
@pytest.mark.parametrize("method", [{"name": "c2kd"}, COMBINED_WITH_C2KD], ids=lambda found: found["name"])
def test_changed_outputs_for_a_method_that_runs_the_teacher_are_refused_before_training(
    method: dict[str, Any], view: str, data: Path, tmp_path: Path
) -> None:
    spec = small_study(method=method, teacher_view=view)
    (problem,) = check(spec, load_dataset(data, None).report)
    assert (problem.code, problem.pointer) == ("incompatible", "/teacher_view")
    assert f"{method['name']} runs the teacher itself" in problem.detail
    events: list[dict[str, Any]] = []
    with pytest.raises(IncompatibleError) as caught:
        run(spec, data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert caught.value.problems == (problem,)
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("view", ["paired", "untrained_teacher"])
def test_a_method_that_runs_the_teacher_can_be_given_an_untrained_one(view: str, data: Path) -> None:
    spec = small_study(method={"name": "c2kd"}, teacher_view=view)
    assert check(spec, load_dataset(data, None).report) == []


@pytest.mark.parametrize("name", ["logit_kd", "nkd", "rkd"])
def test_permuted_channels_for_a_method_that_would_not_see_it_are_refused(name: str, data: Path) -> None:
    """It would be the study of the real teacher once more, under another name."""
    report = load_dataset(data, None).report
    (problem,) = check(small_study(method={"name": name}, teacher_view="permuted_channels"), report)
    assert (problem.code, problem.pointer) == ("incompatible", "/teacher_view")
    assert check(small_study(method={"name": name}, teacher_view="shuffled_pairs"), report) == []


def test_every_view_of_changed_outputs_is_refused_where_it_must_be() -> None:
    assert tuple(FAKES) == CHANGED_OUTPUTS


def test_a_trial_that_diverges_counts_and_has_no_value(data: Path, tmp_path: Path) -> None:
    tuning = {"trials": 3, "weight_factor": {"low": 1e-7, "high": 1e-6}}
    spec = small_study(method=EXPLODING, tuning=tuning, seeds=1)
    events: list[dict[str, Any]] = []
    result = run(spec, data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(result, StudyResult)
    assert [trial.val is None for trial in result.trials] == [True, False, False]
    assert result.method["weight"] <= 1.0
    assert any("trial-0 diverged" in e["message"] for e in events if e["event"] == "warning")
    assert (
        (tmp_path / "out" / "report" / "trials.csv")
        .read_text()
        .splitlines()[1]
        .startswith("0,0.1,weight=1e+06,,,,")
    )


def test_a_study_of_which_every_trial_diverges_fails(data: Path, tmp_path: Path) -> None:
    spec = small_study(method=EXPLODING, tuning={"trials": 2, "weight_factor": {"low": 0.9, "high": 1.0}})
    for _ in range(2):  # the second finds them in its folder
        with pytest.raises(
            TrainingDivergedError, match="each of the 2 trials diverged; in the first, loss term"
        ):
            run(spec, data, tmp_path / "out", options=OPTIONS)


def test_a_final_run_that_diverges_fails_the_study(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed is never left out: that would make the method look better than it is."""
    real = JobRun.run_phase

    def run_phase(self: JobRun, phase: Any, steps_before: int) -> Any:
        if phase.name == "seed-2":
            raise TrainingDivergedError(5, "task", float("nan"))
        return real(self, phase, steps_before)

    monkeypatch.setattr(JobRun, "run_phase", run_phase)
    with pytest.raises(TrainingDivergedError, match="after tuning, in the run with seed 2: loss term 'task'"):
        run(small_study(tuning={"trials": 1}), data, tmp_path / "out", options=OPTIONS)
    assert not (tmp_path / "out" / "result.json").exists()
