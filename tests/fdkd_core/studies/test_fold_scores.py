"""Finalists judged by cross-validation: which rows are held out, and what is decided by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset
from small_job import small_spec, write_small_data
from unlabelled_data import take_labels

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.described import few_groups
from fdkd_core.data.folds import folds_asked, held_out_rows, without
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError, SpecError, TrainingInterrupted
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase
from fdkd_core.ranks.crew_process import Crew
from fdkd_core.run import run
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.tasks import RetrievalSpec
from fdkd_core.studies.decision import Scores, decide, difference
from fdkd_core.studies.fold_scores import Folds

OPTIONS = RunOptions(device="cpu", threads=1)
AUTO = {
    "name": "auto", "trials": 4, "seeds": 2, "finalists": 1, "folds": 3,
    "methods": [{"name": "logit_kd", "temperature": 2.0}],
}  # fmt: skip


def grouped(path: Path, *, rows: int = 96, people: int = 6, kept: int | None = None) -> Path:
    """The small data with a column `group`: so many people of training, others of validation and test."""
    whole = write_small_data(path.with_name("whole.npz"), rows=rows)
    if kept is not None:
        whole = take_labels(path.with_name("few.npz"), whole, kept=kept)
    with np.load(whole) as found:
        arrays = dict(found)
    total = len(arrays["label"])
    group = np.array([f"p{row % people}" if row < rows else f"q{row % 4}" for row in range(total)])
    np.savez(path, **arrays, group=group)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grouped(tmp_path_factory.mktemp("data") / "grouped.npz")


@pytest.fixture(scope="module")
def loaded(data: Path) -> PairedDataset:
    return load_dataset(data, ["clean", "wave"])


def test_groups_are_read(loaded: PairedDataset) -> None:
    assert loaded.groups is not None
    assert loaded.groups[:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert set(loaded.groups[loaded.splits["train"]]).isdisjoint(loaded.groups[loaded.splits["test"]])


@pytest.mark.parametrize(("folds", "expected"), [(2, 2), (3, 3), (6, 6), (20, 6)])
def test_no_group_is_parted_and_each_row_held_out_once(
    folds: int, expected: int, loaded: PairedDataset
) -> None:
    parts = held_out_rows(loaded, folds, seed=0)
    assert len(parts) == expected
    assert np.sum(parts, axis=0).tolist() == [1] * 96
    assert loaded.groups is not None
    groups = loaded.groups[loaded.taught_rows]
    for is_out in parts:
        assert set(groups[is_out]).isdisjoint(groups[~is_out])
        assert is_out.sum() == 96 // expected


def test_large_groups_come_first_so_that_folds_are_alike(loaded: PairedDataset) -> None:
    rows = np.arange(len(loaded.labels))
    uneven = replace(loaded, groups=np.where(rows < 48, 0, np.where(rows < 72, 1, np.where(rows < 84, 2, 3))))
    assert sorted(int(is_out.sum()) for is_out in held_out_rows(uneven, 2, seed=0)) == [48, 48]


def test_rows_without_groups_are_dealt_out_by_class() -> None:
    views = np.random.default_rng(0).normal(size=(61, 2))
    data = paired_dataset(views, views, np.arange(61) % 3, in_splits(41, 10, 10))
    parts = held_out_rows(data, 4, seed=3)
    assert np.sum(parts, axis=0).tolist() == [1] * 41
    labels = data.labels[data.splits["train"]]
    for label in np.unique(labels):
        counts = [int((labels[is_out] == label).sum()) for is_out in parts]
        assert max(counts) - min(counts) <= 1
    again = held_out_rows(data, 4, seed=3)
    assert all(np.array_equal(*pair) for pair in zip(parts, again, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(parts, held_out_rows(data, 4, seed=4), strict=True))


def test_a_fold_has_its_rows_for_a_test_split_and_the_real_one_out_of_reach(loaded: PairedDataset) -> None:
    is_out = held_out_rows(loaded, 3, seed=0)[1]
    view = without(loaded, is_out)
    assert view.splits["test"].tolist() == loaded.taught_rows[is_out].tolist()
    assert view.splits["train"].tolist() == loaded.taught_rows[~is_out].tolist()
    assert view.splits["val"].tolist() == loaded.splits["val"].tolist()
    assert not np.isin(loaded.splits["test"], np.concatenate(list(view.splits.values()))).any()


@pytest.mark.parametrize(
    ("asked", "batch_size", "expected"),
    [(6, 64, [5, 4, 3]), (20, 64, [5, 4, 3]), (6, 65, []), (3, 64, []), (2, 16, []), (None, 16, [])],
)
def test_fewer_folds_are_those_that_leave_a_batch(
    asked: int | None, batch_size: int, expected: list[int], loaded: PairedDataset
) -> None:
    """Of six groups of 16 rows, any fewer folds than six leave 64 rows."""
    folds = Folds(loaded, asked, TrainingSpec(batch_size=batch_size))
    assert folds.fewer() == expected
    for count in expected:
        parts = folds.cut_to(count).parts
        assert len(parts) == count
        for found, wanted in zip(parts, held_out_rows(loaded, count, seed=0), strict=True):
            assert np.array_equal(found, wanted)


def test_rows_without_a_label_go_with_their_group(tmp_path: Path) -> None:
    loaded = load_dataset(grouped(tmp_path / "grouped.npz", kept=48), ["clean", "wave"])
    for is_out in held_out_rows(loaded, 3, seed=0):
        view = without(loaded, is_out)
        assert loaded.groups is not None
        held = set(loaded.groups[view.splits["test"]])
        assert held.isdisjoint(loaded.groups[view.taught_rows])
        assert len(view.unlabelled) == 32
        assert view.taught_rows.tolist() == loaded.taught_rows[~is_out].tolist()


@pytest.fixture(scope="module")
def finished(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunResult, list[dict[str, Any]]]:
    out, events = tmp_path_factory.mktemp("run") / "out", []
    result = run(small_spec(method=AUTO), data, out, options=OPTIONS, on_event=events.append)
    assert isinstance(result, RunResult)
    return out, result, events


def test_finalists_are_trained_without_each_fold_and_judged_on_it(
    finished: tuple[Path, RunResult, list[dict[str, Any]]],
) -> None:
    _, result, events = finished
    assert result.auto is not None
    planned = {phase["name"]: phase["total_steps"] for phase in events[0]["phases"]}
    begun = {
        e["phase"]: e["total_steps"] for e in events if e["event"] == "phase_started" and e["total_steps"]
    }
    assert begun == planned
    assert [name for name in planned if name.startswith("fold")] == [
        f"fold{place}-{number}" for place in (0, 1) for number in (1, 2, 3)
    ]
    assert {steps for name, steps in planned.items() if name.startswith("fold")} == {3 * 4}  # of 64 rows
    control, method = result.auto.finalists
    assert len(control.folds) == len(method.folds) == 3
    gains = np.subtract(method.folds, control.folds)
    assert method.val_difference == pytest.approx(gains.mean())
    assert method.val_standard_error == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    assert "over 3 folds of 6 groups of training" in result.auto.reason
    assert "validation" not in result.auto.reason
    won = result.auto.winner_label != "no_teacher"
    assert won == (method.val_difference > method.val_standard_error)


@pytest.mark.long
def test_folds_are_trained_by_all_processes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ranks/test_two_processes.py` shows that it comes to the same. Here a rounding may rank short trials
    otherwise.
    """
    together, train = [], Crew.train

    def noting(crew: Crew, phase: Phase, *given: Any) -> Any:
        together.append(phase.name)
        return train(crew, phase, *given)

    monkeypatch.setattr(Crew, "train", noting)
    options = replace(OPTIONS, processes=2)
    result = run(small_spec(method=AUTO), data, tmp_path / "out", options=options)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    folds = [f"fold{place}-{number}" for place in (0, 1) for number in (1, 2, 3)]
    assert [name for name in together if name.startswith("fold")] == folds
    assert [len(found.folds) for found in result.auto.finalists] == [3, 3]
    assert "over 3 folds of 6 groups of training" in result.auto.reason


def test_a_stop_within_a_fold_resumes_to_the_same_figures(
    finished: tuple[Path, RunResult, list[dict[str, Any]]], data: Path, tmp_path: Path
) -> None:
    phases, stopped = [], []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "phase_started":
            phases.append(event["phase"])

    def should_stop() -> bool:
        stopped.extend(["now"] if phases and phases[-1] == "fold1-2" else [])
        return len(stopped) == 5

    spec = small_spec(method=AUTO)
    with pytest.raises(TrainingInterrupted):
        run(spec, data, tmp_path / "out", options=OPTIONS, on_event=watch, should_stop=should_stop)
    resumed = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert isinstance(resumed, RunResult)
    assert resumed.auto is not None
    assert finished[1].auto is not None
    assert [f.folds for f in resumed.auto.finalists] == [f.folds for f in finished[1].auto.finalists]
    assert resumed.student.weights_sha256 == finished[1].student.weights_sha256


def test_rows_without_a_label_are_taught_in_the_folds_too(tmp_path: Path) -> None:
    path = grouped(tmp_path / "grouped.npz", rows=144, kept=72)
    result = run(small_spec(method=AUTO), path, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert all(len(found.folds) == 3 for found in result.auto.finalists)
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert {
        e["total_steps"] for e in events if str(e.get("phase", "")).startswith("fold") and "total_steps" in e
    } == {18}


def test_folds_that_cannot_be_are_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    alone = grouped(tmp_path / "alone.npz", people=1)
    large = small_spec().training.model_dump(mode="json") | {"batch_size": 65}
    for spec, path in ((small_spec(method=AUTO), alone), (small_spec(method=AUTO, training=large), data)):
        with pytest.raises(IncompatibleError) as caught:
            run(spec, path, tmp_path / "out", options=OPTIONS)
        (problem,) = caught.value.problems
        assert (problem.code, problem.pointer) == ("dataset_too_small", "/method/folds")
        assert not (tmp_path / "out").exists()
    with pytest.raises(SpecError):
        small_spec(method={**AUTO, "folds": 1})


@pytest.mark.parametrize(
    ("change", "batch_size", "refused"),
    [
        ({}, 64, None),
        ({}, 65, "training has 64 rows; batches have 65"),
        ({"groups": 1, "largest_group": 96}, 16, "of one group"),
        ({"groups": 2, "largest_group": 70}, 26, None),
        ({"groups": 2, "largest_group": 70}, 27, "training has 26 rows; batches have 27"),
        ({"groups": 2, "largest_group": 10}, 49, "training has 48 rows; batches have 49"),
        ({"groups": None}, 65, "training has 64 rows; batches have 65"),
    ],
)
def test_the_report_tells_what_the_run_would(
    loaded: PairedDataset, change: dict[str, Any], batch_size: int, refused: str | None
) -> None:
    """Of `grouped`: six people of 16 training rows each, three folds."""
    assert loaded.report["splits"]["train"] | {"classes": {}} == {
        "rows": 96, "classes": {}, "groups": 6, "largest_group": 16
    }  # fmt: skip
    train = {**loaded.report["splits"]["train"], **change}
    splits = {**loaded.report["splits"], "train": train}
    training = small_spec().training.model_dump(mode="json") | {"batch_size": batch_size}
    found = [
        problem
        for problem in check(small_spec(method=AUTO, training=training), {**loaded.report, "splits": splits})
        if problem.pointer == "/method/folds"
    ]
    assert [problem.code for problem in found] == ([] if refused is None else ["dataset_too_small"])
    assert refused is None or refused in found[0].detail
    assert check(small_spec(method={**AUTO, "folds": None}), {**loaded.report, "splits": splits}) == []


def test_of_a_cut_by_groups_only_what_no_seed_mends_is_refused(loaded: PairedDataset) -> None:
    """Which group validation takes depends on the seed of the job."""
    report = {**loaded.report, "validation_cut_by": "group"}
    for groups, others, codes in ((1, 2, []), (1, 1, ["dataset_too_small"])):
        splits = {
            "train": {"rows": 96, "classes": {}, "groups": groups, "largest_group": 96},
            "val": {"rows": 96, "classes": {}, "groups": others, "largest_group": 96},
            "test": report["splits"]["test"],
        }
        found = check(small_spec(method=AUTO), {**report, "splits": splits})
        assert [problem.code for problem in found] == codes


def test_how_groups_are_dealt_out_is_told_by_the_run(tmp_path: Path) -> None:
    """Of 40, 30 and 26 rows two folds hold 40 and 56, which no report says: 40 are left."""
    path = grouped(tmp_path / "data.npz")
    with np.load(path) as found:
        arrays = dict(found)
    arrays["group"][:96] = np.repeat(["a", "b", "c"], [40, 30, 26])
    np.savez(path, **arrays)
    training = small_spec().training.model_dump(mode="json") | {"batch_size": 45}
    spec = small_spec(method={**AUTO, "folds": 2}, training=training)
    assert check(spec, load_dataset(path, ["clean", "wave"]).report) == []
    with pytest.raises(IncompatibleError, match="training has 40 rows; batches have 45") as caught:
        run(spec, path, tmp_path / "out", options=OPTIONS)
    assert caught.value.problems[0].pointer == "/method/folds"


@pytest.mark.parametrize(
    ("val_groups", "train_groups", "batch_size", "expected"),
    [
        (1, 3, 16, 5),  # of which three folds will be made
        (5, 15, 16, 5),
        (6, 15, 16, None),  # enough to judge by
        (4, 4, 16, None),  # training tells no more
        (1, 2, 16, None),  # halves
        (1, 5, 60, 5),
        (1, 5, 61, None),  # no batch is left
    ],
)
def test_folds_where_validation_has_few_groups(
    loaded: PairedDataset, val_groups: int, train_groups: int, batch_size: int, expected: int | None
) -> None:
    """Of 75 training rows."""
    groups = np.zeros(len(loaded.ids), np.int64)
    train, val = loaded.splits["train"][:75], loaded.splits["val"]
    groups[train] = 100 + np.arange(75) % train_groups
    groups[val] = np.arange(len(val)) % val_groups
    data = replace(loaded, groups=groups, splits={**loaded.splits, "train": train})
    assert folds_asked(data, "auto", 0, batch_size) == expected
    assert folds_asked(data, 4, 0, batch_size) == 4
    assert folds_asked(data, None, 0, batch_size) is None
    assert folds_asked(replace(data, groups=None), "auto", 0, batch_size) is None


def test_a_search_on_four_groups_of_validation_is_judged_by_folds(data: Path, tmp_path: Path) -> None:
    method = {key: value for key, value in AUTO.items() if key != "folds"}
    result = run(small_spec(method=method), data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    assert [len(found.folds) for found in result.auto.finalists] == [5, 5]
    assert "over 5 folds of 6 groups of training" in result.auto.reason


def test_without_folds_the_error_over_validation_rows_is_by_group(data: Path, tmp_path: Path) -> None:
    """Splits are given, so that trainings with and without the column are the same."""
    with np.load(data) as found:
        alone = {name: values for name, values in found.items() if name != "group"}
    np.savez(tmp_path / "alone.npz", **alone)
    found = []
    for place, path in enumerate((data, tmp_path / "alone.npz")):
        training = {"epochs": 10, "batch_size": 16, "augment": "none"}  # enough to tell the two apart
        spec = small_spec(method={**AUTO, "folds": None}, training=training)
        result = run(spec, path, tmp_path / f"out{place}", options=OPTIONS)
        assert isinstance(result, RunResult)
        assert result.auto is not None
        found.append(result.auto.finalists[1])
    by_group, by_row = found
    assert by_group.val_difference == by_row.val_difference
    assert by_group.runs[0].val == by_row.runs[0].val
    assert by_group.val_standard_error != by_row.val_standard_error


def test_reports_warn_of_few_groups(loaded: PairedDataset) -> None:
    said = [line for line in loaded.report["warnings"] if "groups only" in line]
    assert said == [
        "the rows of val are of 4 groups only: what is chosen by them may not suit others",
        "the rows of test are of 4 groups only: figures on them say little of others",
    ]
    one = few_groups(np.zeros(5, np.int64), {"val": np.arange(2), "test": np.arange(2, 5)})
    assert all(" of 1 group only: " in line for line in one)
    assert few_groups(np.arange(12), {"val": np.arange(6), "test": np.arange(6, 12)}) == []
    assert few_groups(None, {"val": np.arange(6)}) == []


def test_what_decides_is_the_spread_over_folds() -> None:
    control = Scores("no_teacher", [0.5, 0.6, 0.7], [], "3 folds of 6 groups of training")
    better = Scores("dist", [0.61, 0.7, 0.79], [], control.folds)
    found = difference(better, control)
    assert found.mean == pytest.approx(0.1)
    assert found.standard_error == pytest.approx(0.01 / 3**0.5)
    index, reason = decide([control, better], "accuracy")
    assert index == 1
    assert reason.startswith("dist is ahead of the tuned control by +10.0 points of accuracy")
    mixed = Scores("dist", [0.9, 0.3, 0.7], [], control.folds)
    assert decide([control, mixed], "accuracy")[0] == 0


def test_what_is_found_by_its_label_stays_with_its_label() -> None:
    """Dealt out by row, folds of a few rows a label hold no two that could find each other."""
    views = np.random.default_rng(0).normal(size=(60, 2))
    labelled = paired_dataset(views, views, np.arange(60) // 4, in_splits(40, 12, 8))
    data = replace(labelled, task=RetrievalSpec())
    parts = held_out_rows(data, 5, seed=0)
    labels = data.labels[data.splits["train"]]
    assert np.sum(parts, axis=0).tolist() == [1] * 40
    for is_out in parts:
        assert set(labels[is_out]).isdisjoint(labels[~is_out])
        assert np.unique(labels[is_out], return_counts=True)[1].tolist() == [4, 4]
    folds = Folds(data, 5, TrainingSpec(batch_size=8))
    folds.check()
    assert folds.words == "5 folds of 10 labels of training"
    vectors = replace(data, labels=views.astype(np.float32), task=RetrievalSpec(relevant="pair"))
    assert Folds(vectors, 5, TrainingSpec(batch_size=8)).words == "5 folds of the training rows"
