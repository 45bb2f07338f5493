"""Pairs without a label in every kind of job: what is learnt from them, and that their labels are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_job import small_comparison, small_spec, small_study, write_small_data
from task_data import task_spec, write_task_data
from unlabelled_data import take_labels, write_clustered_data

from fdkd_core import single_run
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import TargetScale
from fdkd_core.errors import IncompatibleError, TrainingInterrupted
from fdkd_core.models.base import ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.run import run
from fdkd_core.spec import Conv1dSpec, DistillSpec, LogitKDSpec, RetrievalSpec, TrainingSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import CompareResult, RunResult, StudyResult
from fdkd_core.spec.tasks import MultilabelSpec, RegressionSpec
from fdkd_core.tasks.classification import Classification
from fdkd_core.tasks.multilabel import Multilabel
from fdkd_core.tasks.regression import Regression
from fdkd_core.teacher_views import confidence_weights
from fdkd_core.validate import validate_dataset

CPU = torch.device("cpu")
OPTIONS = RunOptions(device="cpu", threads=1)
KEPT, ROWS = 36, 240
STEPS = 15  # an epoch of all of them, in batches of 16
METHOD = {"name": "logit_kd", "temperature": 2.0, "weight": 2.0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("whole") / "data.npz", rows=ROWS)


@pytest.fixture(scope="module")
def data(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return take_labels(tmp_path_factory.mktemp("data") / "data.npz", whole, kept=KEPT)


def spec_of(**changes: Any) -> DistillSpec:
    return small_spec(**{"method": METHOD, **changes})


def planned_and_taken(out: Path) -> tuple[list[int], list[int]]:
    """The steps of each phase as they were planned, and as they were when it began."""
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    planned = next(event["phases"] for event in events if "phases" in event)
    begun = [event["total_steps"] for event in events if event["event"] == "phase_started"]
    return [phase["total_steps"] for phase in planned], [steps for steps in begun if steps]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    out = tmp_path_factory.mktemp("run") / "out"
    result = run(spec_of(), data, out, options=OPTIONS)
    assert isinstance(result, RunResult)
    return out, result


def test_student_and_control_take_the_same_steps_and_the_teacher_its_own(
    finished: tuple[Path, RunResult],
) -> None:
    planned, taken = planned_and_taken(finished[0])
    assert planned == taken == [3 * 3, 3 * STEPS, 3 * STEPS]


def test_the_result_says_how_many_there_are(finished: tuple[Path, RunResult]) -> None:
    (taught,) = finished[1].taught
    assert (taught.training_rows, taught.paired_rows, taught.unlabelled_rows) == (ROWS, ROWS, ROWS - KEPT)
    assert f"{ROWS - KEPT} no label but its answer" in taught.sentence
    assert taught.sentence in (finished[0] / "student" / "README.md").read_text()


TRAINED = {"epochs": 3, "batch_size": 16, "augment": "none"}
SECOND = {"modality": "wave", "architecture": {"name": "conv1d", "width": 6, "depth": 2}, "train": TRAINED}
CHANGES: dict[str, dict[str, Any]] = {
    "logit_kd": {},
    "fd_cmkd": {"method": {"name": "fd_cmkd"}},
    "dkd": {"method": {"name": "dkd"}},
    "by class": {"pairing": "class"},
    "two teachers": {"more_teachers": [SECOND], "teacher_weighting": "confidence"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=list(CHANGES))
def test_no_label_of_them_is_read(changes: dict[str, Any], whole: Path, data: Path, tmp_path: Path) -> None:
    other = take_labels(tmp_path / "other.npz", whole, kept=KEPT, as_label=0)
    weights = []
    for path in (data, other):
        result = run(spec_of(**changes), path, tmp_path / path.stem, options=OPTIONS)
        assert isinstance(result, RunResult)
        assert result.control is not None
        weights.append((result.student.weights_sha256, result.control.weights_sha256))
        assert {taught.unlabelled_rows for taught in result.taught} == {ROWS - KEPT}
    assert weights[0] == weights[1]


def test_each_of_several_teachers_is_judged_by_its_own_answer_to_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def spy(teachers: Any, labels: Any, task: Any) -> Any:
        seen.extend(zip(teachers, labels, strict=True))
        return confidence_weights(teachers, labels, task)

    monkeypatch.setattr(single_run, "confidence_weights", spy)
    run(spec_of(**CHANGES["two teachers"]), data, tmp_path / "out", options=OPTIONS)
    answers = [torch.from_numpy(rows.answers) for rows, _ in seen]
    is_same = [(labels == own) for (_, labels), own in zip(seen, answers, strict=True)]
    is_labelled = seen[0][1] == seen[1][1]
    assert not bool(is_labelled.all())
    for found in is_same:
        assert bool(found[~is_labelled].all())


def test_the_student_learns_from_them_what_its_control_cannot(tmp_path: Path) -> None:
    """A student that is shown thirty labels, and one that knows nearly all by its teacher's answers."""
    whole = write_clustered_data(tmp_path / "whole.npz")
    few = take_labels(tmp_path / "few.npz", whole, kept=30)
    training = {"epochs": 10, "batch_size": 16, "augment": "none", "optimizer": {"name": "sgd", "lr": 0.05}}
    teacher = {
        "modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": {**training, "epochs": 60},
    }  # fmt: skip
    student = {"modality": "mixed", "architecture": {"name": "mlp", "width": 32}}
    for method in (METHOD, {"name": "fd_cmkd"}):
        spec = spec_of(training=training, teacher=teacher, student=student, method=method)
        result = run(spec, few, tmp_path / str(method["name"]), options=OPTIONS)
        assert isinstance(result, RunResult)
        assert result.control is not None
        gained = result.student.test.accuracy - result.control.test.accuracy
        assert gained > 0.1, (method, result.student.test, result.control.test)


def test_a_teacher_that_knows_less_than_the_control_is_warned_of(
    finished: tuple[Path, RunResult], data: Path, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    sides = {
        "teacher": {"modality": "wave", "architecture": {"name": "conv1d", "width": 4}, "train": TRAINED},
        "student": {"modality": "clean", "architecture": {"name": "mlp", "width": 8}},
    }
    result = run(spec_of(**sides), data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(result, RunResult)
    assert result.teacher is not None
    assert result.control is not None
    assert result.teacher.val.accuracy < result.control.val.accuracy
    told = [event["message"] for event in events if event["event"] == "warning"]
    (warning,) = [message for message in told if "the teacher" in message]
    assert "by its answers to 204 rows without a label it teaches its errors" in warning
    assert "teaches its errors" not in (finished[0] / "events.jsonl").read_text()


def test_a_stop_resumes_to_the_same_bits(
    finished: tuple[Path, RunResult], data: Path, tmp_path: Path
) -> None:
    asked = iter([False] * (3 * 3 + 20) + [True] * 99)
    with pytest.raises(TrainingInterrupted):
        run(spec_of(), data, tmp_path / "out", options=OPTIONS, should_stop=lambda: next(asked))
    resumed = run(spec_of(), data, tmp_path / "out", options=OPTIONS)
    assert isinstance(resumed, RunResult)
    assert resumed.student.weights_sha256 == finished[1].student.weights_sha256


def test_the_first_teachers_answers_are_the_labels_of_the_rows_without(data: Path) -> None:
    loaded = load_dataset(data, ["clean", "wave"])
    generator = torch.Generator().manual_seed(0)
    features, logits = (torch.randn(ROWS, width, generator=generator) for width in (8, 3))
    phase = Phase(
        "student", "wave", Conv1dSpec(width=6, depth=2), "/student/architecture",
        TrainingSpec(epochs=1, batch_size=16, augment="none"), LogitKDSpec(), ModelOutput(features, logits),
        answers=logits.argmax(dim=1).numpy(),
    )  # fmt: skip
    trainee = make_trainee(phase, loaded, CPU)
    batches = [trainee.batches.batch(step) for step in range(STEPS)]
    places = np.concatenate([batch.positions for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    assert sorted(places) == list(range(ROWS))
    expected = np.where(places < KEPT, loaded.labels[places], logits.argmax(dim=1).numpy()[places])
    assert labels.tolist() == expected.tolist()


def test_studies_and_comparisons_are_planned_by_what_they_train_on(data: Path, tmp_path: Path) -> None:
    study = run(small_study(method=METHOD, seeds=1), data, tmp_path / "study", options=OPTIONS)
    assert isinstance(study, StudyResult)
    planned, taken = planned_and_taken(tmp_path / "study")
    assert planned == taken
    compared = run(small_comparison(seeds=2), data, tmp_path / "compare", options=OPTIONS)
    assert isinstance(compared, CompareResult)
    planned, taken = planned_and_taken(tmp_path / "compare")
    assert planned == taken
    assert planned[1:] == [3 * STEPS] * (len(planned) - 1)


def test_auto_is_planned_by_them_too(data: Path, tmp_path: Path) -> None:
    method = {"name": "auto", "trials": 4, "seeds": 2, "methods": [METHOD], "finalists": 1}
    result = run(spec_of(method=method), data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.auto is not None
    planned, taken = planned_and_taken(tmp_path / "out")
    assert taken == planned
    assert planned[-4:] == [3 * STEPS] * 4


def test_what_a_teacher_answers_comes_as_labels_of_the_task() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0]])
    assert Classification().answered(logits).tolist() == [0, 2]
    assert Multilabel(MultilabelSpec()).answered(logits).tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    scale = TargetScale(("a", "b", "c"), np.zeros(3), np.ones(3))
    assert Regression(RegressionSpec(), scale).answered(logits).tolist() == logits.tolist()


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_answers_of_other_tasks_stand_in_too(kind: str, tmp_path: Path) -> None:
    whole = write_task_data(tmp_path / "whole.npz", kind)
    students = []
    for name, as_label in (("true", None), ("other", 1.0)):
        path = take_labels(tmp_path / f"{name}.npz", whole, kept=60, as_label=as_label)
        result = run(task_spec(kind), path, tmp_path / name, options=OPTIONS)
        assert isinstance(result, RunResult)
        assert result.taught[0].unlabelled_rows == 100
        students.append(result.student.weights_sha256)
    assert students[0] == students[1]


def test_embeddings_are_no_labels(data: Path, tmp_path: Path) -> None:
    spec = spec_of(task={"kind": "retrieval"}, method={"name": "feature_mse"})
    assert isinstance(spec.task, RetrievalSpec)
    with pytest.raises(IncompatibleError) as caught:
        run(spec, data, tmp_path / "out", options=OPTIONS)
    problems = check(spec, validate_dataset(data))
    assert [(found.code, found.pointer) for found in caught.value.problems] == [
        ("incompatible", "/task/kind")
    ]
    assert problems == list(caught.value.problems)


def test_the_teacher_cannot_be_taken_from_some_of_them(data: Path) -> None:
    (problem,) = check(spec_of(paired_fraction=0.5), validate_dataset(data))
    assert (problem.code, problem.pointer) == ("incompatible", "/paired_fraction")


def test_a_teacher_without_logits_has_no_answers(data: Path) -> None:
    spec = spec_of(teacher={"outputs_from": {"features": "clean"}}, method={"name": "feature_mse"})
    (problem,) = check(spec, validate_dataset(data))
    assert (problem.code, problem.pointer) == ("missing_field", "/teacher/outputs_from/logits")


def test_recorded_answers_will_do(whole: Path, tmp_path: Path) -> None:
    with np.load(whole) as found:
        arrays = dict(found)
    arrays["scores"] = 5.0 * np.eye(3, dtype=np.float32)[arrays["label"]]
    np.savez(tmp_path / "recorded.npz", **arrays)
    path = take_labels(tmp_path / "data.npz", tmp_path / "recorded.npz", kept=KEPT, as_label=0)
    result = run(
        spec_of(teacher={"outputs_from": {"logits": "scores"}}), path, tmp_path / "out", options=OPTIONS
    )
    assert isinstance(result, RunResult)
    assert result.taught[0].unlabelled_rows == ROWS - KEPT


def test_batches_may_be_larger_than_the_labelled_rows_where_a_teacher_is_given(
    data: Path, tmp_path: Path
) -> None:
    training = {**spec_of().training.model_dump(mode="json"), "batch_size": 64}
    spec = spec_of(training=training)
    assert check(spec, validate_dataset(data)) == []
    assert isinstance(run(spec, data, tmp_path / "out", options=OPTIONS), RunResult)
    training["batch_size"] = ROWS + 1
    (problem,) = check(spec_of(training=training), validate_dataset(data))
    assert (problem.code, problem.pointer) == ("dataset_too_small", "/training/batch_size")


def test_a_model_that_is_trained_alone_passes_them_over(data: Path, tmp_path: Path) -> None:
    document = spec_of().model_dump(mode="json", include={"dataset", "task", "student", "training", "export"})
    result = run(load_spec({**document, "kind": "train"}), data, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    planned, taken = planned_and_taken(tmp_path / "out")
    assert planned == taken == [3 * 3]
