"""`method: auto` on data where it is known what should win."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from taught_data import auto_spec, teacher_spec, write_taught_data

from fdkd_core.console import show_result
from fdkd_core.errors import IncompatibleError, Problem, SpecError, TrainingDivergedError
from fdkd_core.job_run import JobRun
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import AutoSpec, load_spec
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.trainings import rung_epochs
from fdkd_core.studies import auto as auto_module
from fdkd_core.studies.decision import decide
from fdkd_core.studies.minutes import Finals, epochs_in_all
from fdkd_core.training import checkpoint

RUNGS = [f"rung0-{place}" for place in range(6)] + [f"rung1-{place}" for place in range(4)]
FINALS = [f"final{place}-{number}" for place in range(2) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_taught_data(tmp_path_factory.mktemp("data") / "taught.npz")


def options_with_teacher(folder: Path, roll: int) -> RunOptions:
    """A teacher that was trained on right labels, or on ones that are always wrong."""
    told = write_taught_data(folder / "told.npz", wrong=0.0, roll=roll)
    run(teacher_spec(), told, folder / "teacher", options=RunOptions(device="cpu", threads=1))
    return RunOptions(device="cpu", threads=1, models={"teacher": folder / "teacher" / "student"})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    return options_with_teacher(tmp_path_factory.mktemp("good"), roll=0)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    return options_with_teacher(tmp_path_factory.mktemp("bad"), roll=1)


Finished = tuple[Path, RunResult, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def helped(data: Path, good: RunOptions, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("helped") / "out"
    events: list[dict[str, Any]] = []
    result = run(auto_spec(), data, out, options=good, on_event=events.append)
    assert isinstance(result, RunResult)
    return out, result, events


def test_a_teacher_that_knows_better_wins(helped: Finished) -> None:
    _, result, _ = helped
    assert result.auto is not None
    assert result.auto.winner_label == "logit_kd"
    assert result.auto.reason.startswith("logit_kd is ahead of the tuned control by +")
    assert result.uplift is not None
    assert result.uplift.test_accuracy > 0.05
    control, student = result.auto.finalists
    assert student.val_difference is not None
    assert student.val_standard_error is not None
    assert student.val_difference > student.val_standard_error > 0.0
    assert result.control is not None
    assert result.control.val.accuracy == max(run.val.accuracy for run in control.runs)
    assert result.student.val.accuracy == max(run.val.accuracy for run in student.runs)
    assert [rows.teacher for rows in result.taught] == ["teacher"]


def test_a_teacher_that_is_wrong_loses_to_the_tuned_control(
    data: Path, bad: RunOptions, tmp_path: Path
) -> None:
    result = run(auto_spec(), data, tmp_path / "out", options=bad)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert result.auto.winner_label == "no_teacher"
    assert "the student is the control's" in result.auto.reason
    assert "twice the noise, as is asked where the teacher does worse" in result.auto.reason
    assert result.control is not None
    assert result.student.weights_sha256 == result.control.weights_sha256
    assert result.uplift is not None
    assert result.uplift.test_accuracy == 0.0
    assert result.taught == []
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert "without a teacher" in card
    assert "Distilled" not in card
    shown = io.StringIO()
    show_result(Console(width=80, file=shown), result, Path("out"))
    assert "uplift over the control" not in shown.getvalue()


@pytest.mark.parametrize(("blinded", "expected"), [("val", True), ("test", False)])
def test_a_teacher_is_behind_by_validation_alone(
    blinded: str,
    expected: bool,
    data: Path,
    good: RunOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the rows of one split the teacher, which is right elsewhere, sees the sample of another row."""
    with np.load(data) as columns:
        found = dict(columns)
    rows = np.flatnonzero(found["split"] == blinded)
    found["clean"][rows] = found["clean"][np.roll(rows, 1)]
    np.savez(tmp_path / "blinded.npz", **found)
    told: list[bool] = []

    def spy(scores: Any, select_by: str, *, is_teacher_behind: bool) -> Any:
        told.append(is_teacher_behind)
        return decide(scores, select_by, is_teacher_behind=is_teacher_behind)

    monkeypatch.setattr(auto_module, "decide", spy)
    spec = auto_spec(trials=2, seeds=2)
    result = run(spec, tmp_path / "blinded.npz", tmp_path / "out", options=good)
    assert isinstance(result, RunResult)
    assert told == [expected]
    assert result.teacher is not None
    behind = {"val": result.teacher.val.accuracy, "test": result.teacher.test.accuracy}
    assert behind.pop(blinded) < 0.4 < 0.9 < min(behind.values())


def test_everything_tried_is_on_record(helped: Finished) -> None:
    out, result, _ = helped
    report = result.auto
    assert report is not None
    assert json.loads((out / "result.json").read_text())["auto"] == report.model_dump(mode="json")
    assert [c.number for c in report.configurations] == list(range(6))
    assert [c.label for c in report.configurations] == ["no_teacher", "logit_kd"] * 3
    assert all(c.rungs[0].epochs == 3 for c in report.configurations)
    assert sorted(len(c.rungs) for c in report.configurations) == [1, 1, 2, 2, 2, 2]
    assert [f.label for f in report.finalists] == ["no_teacher", "logit_kd"]
    assert all([run.seed for run in f.runs] == [1, 2, 3] for f in report.finalists)
    assert all(run.epochs == 12 for f in report.finalists for run in f.runs)
    assert not report.cut_short
    card = (out / "student" / "README.md").read_text()
    assert "## How it was chosen" in card
    assert "Distilled from a teacher" in card
    assert not (out / "work").exists()


def rows_of(out: Path) -> list[dict[str, str]]:
    """Of search.csv, without the time that it took."""
    with (out / "report" / "search.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_the_report_says_what_the_result_says(helped: Finished, data: Path, good: RunOptions) -> None:
    out, result, _ = helped
    report = result.auto
    assert report is not None
    written = {path.name: path.read_bytes() for path in (out / "report").iterdir()}
    assert sorted(written) == ["search.csv", "search.md", "search.png", "search.svg"]
    rows = rows_of(out)
    assert [float(row["val_accuracy"]) for row in rows if row["stage"] == "rung 2"] == [
        pytest.approx(tried.rungs[1].val.accuracy, abs=1e-4)
        for tried in report.configurations
        if len(tried.rungs) == 2 and tried.rungs[1].val is not None
    ]
    finalists = [row for row in rows if row["stage"] == "finalist"]
    for row, found in zip(finalists, report.finalists, strict=True):
        assert int(row["configuration"]) == found.number
        assert float(row["val_accuracy"]) == pytest.approx(found.val, abs=1e-4)
    assert [row["outcome"] for row in finalists] == ["not chosen", "handed over"]
    page = written["search.md"].decode().replace("\\", "")
    assert report.reason in page
    assert "| **logit_kd** |" in page
    # What is finished is not done again.
    assert run(auto_spec(), data, out, options=good) == result
    assert {path.name: path.read_bytes() for path in (out / "report").iterdir()} == written


def test_the_terminal_shows_finalists_and_reason_in_80_columns(helped: Finished) -> None:
    out, result, _ = helped
    shown = io.StringIO()
    show_result(Console(width=80, file=shown), result, Path("out"))
    assert "report: " not in shown.getvalue()  # of an earlier release there is none
    assert max(len(line) for line in shown.getvalue().splitlines()) <= 80
    for word in (
        "finalists",
        "tried 6 configurations in 10 short trainings",
        "is ahead of the tuned control",
    ):
        assert word in " ".join(shown.getvalue().split())
    show_result(Console(width=80, file=shown), result, out)
    assert f"report: {out / 'report' / 'search.md'}" in shown.getvalue()


def test_events_follow_the_plan(helped: Finished) -> None:
    _, _, events = helped
    planned = [phase["name"] for phase in events[0]["phases"]]
    assert planned == [*RUNGS, *FINALS]
    assert all(len(name) <= 16 for name in planned)
    assert [e["phase"] for e in events if e["event"] == "phase_started"] == [*planned, "finalise"]
    steps = [event["job_step"] for event in events if event["event"] == "step"]
    assert steps == sorted(steps)
    assert steps[-1] == sum(phase["total_steps"] for phase in events[0]["phases"])


class DeadError(BaseException):
    """Ends a run wherever it is."""


@pytest.mark.parametrize(
    ("phase", "step"), [("rung0-4", 11), pytest.param("final1-2", 25, marks=pytest.mark.long)]
)
def test_a_search_resumes_to_the_same_choice(
    phase: str,
    step: int,
    helped: Finished,
    data: Path,
    good: RunOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "MIN_COST_RATIO", 0.0)
    here = ["", 0]

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "phase_started":
            here[:] = [event["phase"], event["step"]]

    def should_stop() -> bool:
        now, here[1] = here[1], here[1] + 1
        if (here[0], now) == (phase, step):
            raise DeadError
        return False

    with pytest.raises(DeadError):
        run(auto_spec(), data, tmp_path / "out", options=good, on_event=on_event, should_stop=should_stop)
    result = run(auto_spec(), data, tmp_path / "out", options=good)

    def numbers(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: numbers(value) for name, value in found.items() if name != "seconds"}
        return [numbers(value) for value in found] if isinstance(found, list) else found

    assert numbers(result.model_dump(mode="json")) == numbers(helped[1].model_dump(mode="json"))
    assert rows_of(tmp_path / "out") == rows_of(helped[0])
    plots = [folder / "report" / "search.png" for folder in (tmp_path / "out", helped[0])]
    assert plots[0].read_bytes() == plots[1].read_bytes()


def test_minutes_that_are_not_enough_leave_the_least_that_a_search_is(
    data: Path, good: RunOptions, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    spec = auto_spec(minutes=1e-6, finalists=2, folds=5)
    result = run(spec, data, tmp_path / "out", options=good, on_event=events.append)
    assert isinstance(result, RunResult)
    report = result.auto
    assert report is not None
    assert report.cut_short
    assert [c.label for c in report.configurations] == ["no_teacher", "logit_kd"]
    assert [len(f.runs) for f in report.finalists] == [2, 2]
    assert [len(f.folds) for f in report.finalists] == [3, 3]
    budget = report.budget
    assert budget is not None
    assert budget.least is not None
    assert budget.allowed == pytest.approx(6e-5)
    assert min(budget.used, budget.least) > budget.allowed
    trained = sum(rung.seconds for c in report.configurations for rung in c.rungs)
    assert budget.used >= trained + sum(run.seconds for f in report.finalists for run in f.runs)
    assert (budget.rounds, budget.finalists, budget.seeds, budget.folds) == (1, 1, 2, 3)
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert sum("minutes of the search are not enough" in text for text in warnings) == 1
    assert report.reason.endswith(budget.told)
    assert "1e-06 minutes allowed were not enough" in budget.told
    cuts = "1 round of configurations instead of 3, 1 finalist instead of 2, 2 seeds instead of 3, 3 folds"
    assert f"so it had {cuts} instead of 5" in budget.told
    assert (tmp_path / "out" / "student" / "model.safetensors").exists()
    assert "were not enough" in (tmp_path / "out" / "student" / "README.md").read_text()
    shown = io.StringIO()
    show_result(Console(width=80, file=shown), result, Path("out"))
    assert "fewer than `trials` for the sake of the minutes" in " ".join(shown.getvalue().split())


@pytest.mark.parametrize(("phase", "is_noted"), [("final0-2", True), ("rung1-1", False)])
def test_minutes_are_shared_out_once(
    phase: str,
    is_noted: bool,
    helped: Finished,
    data: Path,
    good: RunOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed, and gone on with as if its trainings had taken days; there are minutes enough for all of them.

    What an earlier release had begun, which noted nothing, goes on as that planned it too.
    """
    monkeypatch.setattr(checkpoint, "MIN_COST_RATIO", 0.0)
    spec, out, here = auto_spec(minutes=1000.0), tmp_path / "out", [""]

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "phase_started":
            here[0] = event["phase"]

    def should_stop() -> bool:
        if here[0] == phase:
            raise DeadError
        return False

    with pytest.raises(DeadError):
        run(spec, data, out, options=good, on_event=on_event, should_stop=should_stop)
    outcomes = out / "work" / "outcomes"
    for path in outcomes.glob("rung0-*.json"):
        noted = json.loads(path.read_text())
        noted["trial"]["seconds"] = 1e6
        path.write_text(json.dumps(noted))
    if not is_noted:
        for path in outcomes.glob("plan*.json"):
            path.unlink()
    result = run(spec, data, out, options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert helped[1].auto is not None
    assert result.student.weights_sha256 == helped[1].student.weights_sha256
    assert [c.number for c in result.auto.configurations] == list(range(6))
    for found, asked in zip(result.auto.finalists, helped[1].auto.finalists, strict=True):
        assert (found.number, found.val, found.test) == (asked.number, asked.val, asked.test)
    assert result.auto.budget is not None
    assert result.auto.budget.told.startswith("The trainings of the search took 100,000 minutes, more than")


def test_methods_that_diverge_leave_the_control(data: Path, good: RunOptions, tmp_path: Path) -> None:
    method = {"name": "feature_mse", "normalize": False, "weight": 1e6}
    spec = auto_spec(methods=[method], weight_factor={"low": 0.9, "high": 1.0}, trials=4, seeds=2)
    result = run(spec, data, tmp_path / "out", options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert result.auto.winner_label == "no_teacher"
    assert [f.label for f in result.auto.finalists] == ["no_teacher"]
    assert [c.rungs[0].val is None for c in result.auto.configurations] == [False, True, False, True]


@pytest.mark.parametrize(("doomed", "expected"), [({"logit_kd"}, 2), ({"logit_kd", "none"}, 2)])
def test_trainings_that_diverged_do_not_make_the_others_look_cheap(
    doomed: set[str],
    expected: int,
    data: Path,
    good: RunOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the first round those of `doomed` diverge at once; a training that ends takes a minute.

    Two of four rounds fit. Where all of the first diverged, the second says so.
    """
    real = auto_module.run_trial

    def run_trial(lesson: Any, name: str, candidate: Any, *given: Any, **more: Any) -> Any:
        trial = real(lesson, name, candidate, *given, **more)
        if candidate.number == 0 and candidate.method.name in doomed and name.startswith("rung0"):
            return trial.model_copy(update={"val": None, "seconds": 0.2})
        return trial.model_copy(update={"seconds": 60.0})

    monkeypatch.setattr(auto_module, "run_trial", run_trial)
    training, wanted = auto_spec().training, {"trials": 8, "seeds": 2}
    method = auto_spec(**wanted).method
    assert isinstance(method, AutoSpec)
    finals = Finals(method.finalists, method.seeds, folds=0)
    minutes = epochs_in_all(training, rounds=2, arms=2, finals=finals) / rung_epochs(training)[0]
    result = run(auto_spec(**wanted, minutes=minutes), data, tmp_path / "out", options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert len(result.auto.configurations) == 2 * expected
    assert result.auto.cut_short


def test_a_finalist_that_diverges_is_out_and_a_control_that_does_ends_the_job(
    data: Path, good: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = JobRun.run_phase
    doomed = ["final1-2"]
    error: Exception | None = None

    def run_phase(self: JobRun, phase: Any, steps_before: int) -> Any:
        if phase.name in doomed and error is not None:
            raise error
        if phase.name in doomed:
            raise TrainingDivergedError(5, "kd", float("nan"))
        return real(self, phase, steps_before)

    monkeypatch.setattr(JobRun, "run_phase", run_phase)
    spec = auto_spec(trials=2, seeds=2)
    result = run(spec, data, tmp_path / "method", options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert result.auto.winner_label == "no_teacher"
    assert result.auto.finalists[1].val is None
    error = IncompatibleError(Problem("incompatible", "a fold has no pairs that a basis could be made from"))
    doomed[:] = ["final1-2"]
    result = run(spec, data, tmp_path / "fold", options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert result.auto.finalists[1].val is None
    error = None
    doomed[:] = ["final0-1"]
    with pytest.raises(TrainingDivergedError, match="in the run with seed 1"):
        run(spec, data, tmp_path / "control", options=good)
    doomed[:] = ["rung0-0"]
    with pytest.raises(TrainingDivergedError, match="every training without a teacher diverged"):
        run(spec, data, tmp_path / "controls", options=good)
    doomed[:] = ["rung1-0"]
    for _ in range(2):  # once more in the same folder
        with pytest.raises(TrainingDivergedError, match="every training without a teacher diverged"):
            run(spec, data, tmp_path / "later", options=good)


@pytest.mark.parametrize("select_by", ["macro_f1", "loss"])
def test_other_figures_can_decide(
    select_by: str, data: Path, good: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each row adds to the figure has the figure for its mean, up to a constant for all rows."""
    seen: list[Any] = []
    real = auto_module._scores

    def spy(search: Any, finalist: Any) -> Any:
        seen.append(real(search, finalist))
        return seen[-1]

    monkeypatch.setattr(auto_module, "_scores", spy)
    document = auto_spec(trials=2, seeds=2).model_dump(mode="json")
    document["training"]["select_by"] = select_by
    result = run(load_spec(document), data, tmp_path / "out", options=good)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert result.auto.select_by == select_by
    for scores in seen:
        for value, shares in zip(scores.values, scores.shares, strict=True):
            assert shares.mean() == pytest.approx(value if select_by == "loss" else 0.0, abs=1e-9)


def test_a_rung_is_judged_with_what_is_stated_in_the_place_of_its_equals(
    data: Path, good: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def spy(tried: Any, values: Any, shares: Any, groups: Any, select_by: str) -> list[float]:
        assert shares.keys() == {found.number for found in tried}  # of this rung alone
        assert all(len(shares[found.number]) == 150 for found in tried)
        assert (groups, select_by) == (None, "accuracy")
        seen.append(len(tried))
        # As if nothing were ever beyond noise.
        stated = {found.label: place for place, found in reversed(list(enumerate(tried)))}
        return [9.0 if place in stated.values() else value for place, value in enumerate(values)]

    monkeypatch.setattr(auto_module, "with_stated_first", spy)
    kept = run(auto_spec(seeds=2), data, tmp_path / "kept", options=good)
    assert isinstance(kept, RunResult)
    assert kept.auto is not None
    assert seen == [6, 4]
    assert [found.number for found in kept.auto.finalists] == [0, 1]
    # Elsewhere the figures decide: of these, others than what is stated are best.
    best = run(auto_spec(seeds=2, choose="best"), data, tmp_path / "best", options=good)
    assert len(seen) == 2
    assert isinstance(best, RunResult)
    assert best.auto is not None
    last = {c.number: c.rungs[1].val for c in best.auto.configurations if len(c.rungs) == 2}
    accuracy = {number: val.accuracy for number, val in last.items() if val is not None}
    leaders = [max((n for n in accuracy if n % 2 == k), key=lambda n: (accuracy[n], -n)) for k in (0, 1)]
    assert [found.number for found in best.auto.finalists] == leaders != [0, 1]


def test_auto_is_no_method_of_a_study_nor_a_part_of_a_combination() -> None:
    document = auto_spec().model_dump(mode="json")
    for changes in (
        {"kind": "study", "method": {"name": "auto"}},
        {"method": {"name": "auto", "methods": [{"name": "none"}]}},
        {"method": {"name": "auto", "methods": [{"name": "auto"}]}},
    ):
        with pytest.raises(SpecError):
            load_spec({**document, **changes})
