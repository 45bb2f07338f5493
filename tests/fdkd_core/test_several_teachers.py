"""A student of several teachers, of the same or of different modalities."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import Planted, make_planted
from small_job import NOTHING_MADE, STEPS_PER_PHASE, small_spec, write_small_data

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import InputError, SpecError, TrainingDivergedError, TrainingInterrupted
from fdkd_core.losses.logits import tempered_kl
from fdkd_core.models import build_model
from fdkd_core.models.base import ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import FurtherTeacher, Phase, Trained, make_trainee
from fdkd_core.run import run
from fdkd_core.spec import FDCMKDSpec, LogitKDSpec, MethodSpec, MLPSpec, TrainingSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import RunResult
from fdkd_core.teacher_views import TeacherRows, confidence_weights, view_rows
from fdkd_core.training.loop import Hooks, LoopState, Trainee, fit, train_step

CPU = torch.device("cpu")
TRAINING = {"epochs": 3, "batch_size": 16, "checkpoint_every_steps": 7}
SECOND: dict[str, Any] = {"modality": "wave", "train": TRAINING, "weight": 0.5}
PHASES = ["teacher", "teacher2", "student", "control"]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_planted(0, num_train=64, num_test=64)


def labels_of(planted: Planted) -> torch.Tensor:
    return torch.from_numpy(planted.data.labels[planted.data.splits["train"]])


def rows_of_teacher(planted: Planted, seed: int, dim: int = 9, **view: Any) -> TeacherRows:
    generator = torch.Generator().manual_seed(seed)
    outputs = ModelOutput(torch.randn(64, dim, generator=generator), torch.randn(64, 6, generator=generator))
    return view_rows(outputs, labels_of(planted), 6, **view)


def trainee_of(
    planted: Planted,
    method: MethodSpec,
    first: TeacherRows,
    *others: tuple[TeacherRows, float],
    row_weights: torch.Tensor | None = None,
) -> Trainee:
    model = build_model(MLPSpec(width=9), (4,), 6)
    further = tuple(
        FurtherTeacher(f"teacher{index}", Trained("inputs", MLPSpec(), model, 0, 0, 0.0), rows, weight)
        for index, (rows, weight) in enumerate(others, start=2)
    )
    phase = Phase(
        "student",
        "inputs",
        MLPSpec(width=16, depth=1),
        "/student/architecture",
        TrainingSpec(epochs=2, batch_size=16, augment="none"),
        method,
        first.outputs,
        first.paired,
        more_teachers=further,
        row_weights=row_weights,
    )
    return make_trainee(phase, planted.data, CPU)


def trained(trainee: Trainee) -> dict[str, torch.Tensor]:
    fit(trainee, LoopState(), Hooks(lambda metrics: None, lambda: False, lambda state, must: None))
    return trainee.model.state_dict()


def test_confidence_equals_its_definition(planted: Planted) -> None:
    teachers = [
        rows_of_teacher(planted, 1),
        rows_of_teacher(planted, 2, present=torch.arange(64) % 3 > 0),
        rows_of_teacher(planted, 3, present=torch.arange(64) % 2 > 0),
    ]
    labels = labels_of(planted)
    found = confidence_weights(teachers, [labels] * len(teachers))
    assert found.shape == (3, 64)
    for row in range(64):
        there = [t for t in range(3) if teachers[t].paired is None or teachers[t].paired[row]]
        sure = {}
        for t in there:
            logits = teachers[t].outputs.logits[row].tolist()
            sure[t] = math.exp(logits[int(labels[row])]) / sum(map(math.exp, logits))
        for t in range(3):
            expected = len(there) * sure[t] / sum(sure.values()) if t in there else 0.0
            assert float(found[t, row]) == pytest.approx(expected, rel=1e-5)
        assert float(found[:, row].sum()) == pytest.approx(len(there))


def test_teachers_that_are_as_sure_of_answers_of_their_own_count_alike(planted: Planted) -> None:
    """As on rows without a label: by the first one's answers the second would be wrong where they differ."""
    first = rows_of_teacher(planted, 1)
    turned = first._replace(outputs=first.outputs._replace(logits=first.outputs.logits.roll(1, dims=1)))
    own = [rows.outputs.logits.argmax(dim=1) for rows in (first, turned)]
    assert torch.allclose(confidence_weights([first, turned], own), torch.ones(2, 64))
    assert (confidence_weights([first, turned], [own[0]] * 2)[0] > 1.0).all()


def test_rows_that_no_teacher_speaks_about_have_no_weight(planted: Planted) -> None:
    nobody = rows_of_teacher(planted, 1, present=torch.arange(64) > 0)
    found = confidence_weights([nobody, nobody], [labels_of(planted)] * 2)
    assert found[:, 0].tolist() == [0.0, 0.0]
    assert torch.equal(found[:, 1:], torch.ones(2, 63))


def test_each_teacher_has_its_terms_and_its_own_parameters(planted: Planted) -> None:
    rows = [rows_of_teacher(planted, 1, dim=9), rows_of_teacher(planted, 2, dim=12)]
    trainee = trainee_of(planted, FDCMKDSpec(balance="gradient_norm"), rows[0], (rows[1], 0.5))
    names = ["low", "high", "align", "heads"]
    assert list(trainee.method.weights) == names + [f"teacher2.{name}" for name in names]
    assert trainee.method.weights["teacher2.high"] == 0.5 * 0.1
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    assert set(told.terms) == {"task", *trainee.method.weights}
    assert trainee.method.balance is not None
    norms = dict(zip(["task", *trainee.method.weights], trainee.method.balance.norms.tolist(), strict=True))
    expected = 0.5 * told.terms["teacher2.low"] * norms["task"] / norms["teacher2.low"]
    assert told.weighted["teacher2.low"] == pytest.approx(expected)
    widths = {t.shape[0] for name, t in trainee.method.state_dict().items() if "projector.weight" in name}
    assert widths == {9, 12}


@pytest.mark.parametrize("confident", [False, True])
def test_terms_equal_a_loop_over_teachers_and_rows(planted: Planted, confident: bool) -> None:
    first = rows_of_teacher(planted, 1, present=torch.arange(64) % 3 > 0)
    second = rows_of_teacher(planted, 2, paired_fraction=0.5)
    weights = confidence_weights([first, second], [labels_of(planted)] * 2) if confident else None
    trainee = trainee_of(planted, LogitKDSpec(), first, (second, 0.7), row_weights=weights)
    batch = trainee.batches.batch(0)
    with torch.no_grad():
        logits = trainee.model.train()(torch.from_numpy(batch.inputs)).logits
    told = train_step(trainee, batch, lr=0.1, step=0)
    for index, (name, rows) in enumerate((("logit", first), ("teacher2.logit", second))):
        assert rows.paired is not None
        losses = [
            float(tempered_kl(logits[i : i + 1], rows.outputs.logits[p : p + 1], temperature=4.0))
            * (float(weights[index, p]) if weights is not None else 1.0)
            for i, p in enumerate(batch.positions)
            if rows.paired[p]
        ]
        assert told.terms[name] == pytest.approx(sum(losses) / len(batch.positions), rel=1e-5)
    assert told.weighted["teacher2.logit"] == pytest.approx(0.7 * told.terms["teacher2.logit"])


def test_a_teacher_of_weight_zero_changes_no_bit(planted: Planted) -> None:
    first, second = rows_of_teacher(planted, 1), rows_of_teacher(planted, 2, dim=12)
    alone = trained(trainee_of(planted, FDCMKDSpec(), first))
    beside = trained(trainee_of(planted, FDCMKDSpec(), first, (second, 0.0)))
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_two_equal_teachers_are_one_of_twice_the_weight(planted: Planted) -> None:
    rows = rows_of_teacher(planted, 1)
    twice = trained(trainee_of(planted, LogitKDSpec(), rows, (rows, 1.0)))
    once = trained(trainee_of(planted, LogitKDSpec(weight=2.0), rows))
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-3, atol=1e-5)


def test_a_batch_that_only_one_teacher_knows(planted: Planted) -> None:
    nobody = rows_of_teacher(planted, 1, present=torch.arange(64) < 0)
    trainee = trainee_of(planted, LogitKDSpec(), nobody, (rows_of_teacher(planted, 2), 1.0))
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    assert told.terms["logit"] == 0.0
    assert told.terms["teacher2.logit"] > 0.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


OPTIONS = RunOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult, list[Any]]:
    out, events = tmp_path_factory.mktemp("whole") / "out", []
    spec = small_spec(more_teachers=[SECOND], teacher_weighting="confidence", paired_fraction=0.7)
    result = run(spec, data, out, options=OPTIONS, on_event=events.append)
    assert isinstance(result, RunResult)
    return out, result, events


def test_a_job_with_two_teachers(whole: tuple[Path, RunResult, list[Any]]) -> None:
    out, result, events = whole
    assert [phase["name"] for phase in events[0]["phases"]] == PHASES
    assert [e["phase"] for e in events if e["event"] == "phase_started"] == [*PHASES, "finalise"]
    steps = [event for event in events if event["event"] == "step"]
    assert steps[-1]["job_step"] == 4 * STEPS_PER_PHASE
    terms = next(event for event in steps if event["phase"] == "student")["terms"]
    assert {"low", "teacher2.low", "teacher2.heads"} <= set(terms)
    (second,) = result.more_teachers
    assert (second.modality, second.epochs) == ("wave", 3)
    assert result.teacher is not None
    assert result.teacher.modality == "clean"
    assert result.more_teacher_bundles == ["teacher2"]
    assert [rows.teacher for rows in result.taught] == ["teacher", "teacher2"]
    assert result.taught[0].paired_rows == result.taught[1].paired_rows < 96
    card = (out / "teacher2" / "README.md").read_text()
    assert "Trained on labels to teach" in card
    student = (out / "student" / "README.md").read_text()
    assert "teachers of the modalities clean, wave" in student
    assert "| teacher2 | wave |" in student
    identity = json.loads((out / "job.json").read_text())["identity"]
    assert identity["teacher2"] is None


def test_it_resumes_to_the_same_bits(
    data: Path, whole: tuple[Path, RunResult, list[Any]], tmp_path: Path
) -> None:
    spec = small_spec(more_teachers=[SECOND], teacher_weighting="confidence", paired_fraction=0.7)
    for steps in (STEPS_PER_PHASE + 5, STEPS_PER_PHASE + 10):
        asked = iter([False] * steps + [True] * 99)
        with pytest.raises(TrainingInterrupted):
            run(spec, data, tmp_path / "out", options=OPTIONS, should_stop=asked.__next__)
    resumed = run(spec, data, tmp_path / "out", options=OPTIONS)
    assert isinstance(resumed, RunResult)
    assert resumed.student.weights_sha256 == whole[1].student.weights_sha256
    assert resumed.more_teachers[0].weights_sha256 == whole[1].more_teachers[0].weights_sha256


def test_a_teacher_of_weight_zero_takes_no_share_of_the_confidence(data: Path, tmp_path: Path) -> None:
    silent = {**SECOND, "weight": 0.0}
    hashes = set()
    for name, changes in (
        ("alone", {}),
        ("fixed", {"more_teachers": [silent]}),
        ("confidence", {"more_teachers": [silent], "teacher_weighting": "confidence"}),
    ):
        found = run(small_spec(**changes), data, tmp_path / name, options=OPTIONS)
        assert isinstance(found, RunResult)
        hashes.add(found.student.weights_sha256)
    assert len(hashes) == 1


def test_confidence_is_refused_to_a_single_teacher(data: Path) -> None:
    """There is nobody to share a row with: it would be stated, and do nothing."""
    report = load_dataset(data, None).report
    (problem,) = check(small_spec(teacher_weighting="confidence"), report)
    assert (problem.code, problem.pointer) == ("incompatible", "/teacher_weighting")
    assert check(small_spec(more_teachers=[SECOND], teacher_weighting="confidence"), report) == []


def test_a_teacher_that_diverges_is_named_with_its_own_rate(data: Path, tmp_path: Path) -> None:
    rate = {"epochs": 300, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}}
    for place, changes in (
        ("teacher", {"teacher": {"modality": "clean", "train": rate}}),
        ("more_teachers.0", {"more_teachers": [{"modality": "wave", "train": rate}]}),
    ):
        with pytest.raises(TrainingDivergedError) as caught:
            run(small_spec(**changes), data, tmp_path / place, options=OPTIONS)
        name = "the teacher" if place == "teacher" else "teacher 2"
        assert str(caught.value).startswith(f"in the training of {name}, ")
        assert str(caught.value).endswith(f". Lower {place}.train.optimizer.lr.")


def test_a_further_teacher_may_be_given(
    data: Path, whole: tuple[Path, RunResult, list[Any]], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "teacher2", tmp_path / "second")
    options = RunOptions(device="cpu", threads=1, models={"second": tmp_path / "second"})
    second = {"modality": "wave", "model": "second"}
    # A column that a given teacher reads goes through its preprocessing for the student too.
    found = run(small_spec(more_teachers=[second]), data, tmp_path / "out", options=options)
    assert isinstance(found, RunResult)
    assert found.more_teacher_bundles == [None]
    assert found.more_teachers[0].epochs == 0
    assert found.more_teachers[0].weights_sha256 == whole[1].more_teachers[0].weights_sha256
    assert found.more_teachers[0].test.accuracy == whole[1].more_teachers[0].test.accuracy
    identity = json.loads((tmp_path / "out" / "job.json").read_text())["identity"]
    assert isinstance(identity["teacher2"], str)


def test_two_given_teachers_read_a_column_alike(
    data: Path, whole: tuple[Path, RunResult, list[Any]], tmp_path: Path
) -> None:
    document: dict[str, Any] = {"name": "other", "student": {"modality": "wave"}}
    document |= {"training": {"epochs": 1, "batch_size": 16}}
    document |= {"kind": "train", "dataset": "x", "task": {"kind": "classification"}, "export": NOTHING_MADE}
    other = load_spec(document)
    run(other, write_small_data(tmp_path / "other.npz", rows=112), tmp_path / "train", options=OPTIONS)
    models = {"a": whole[0] / "teacher2", "b": tmp_path / "train" / "student"}
    options = RunOptions(device="cpu", threads=1, models=models)
    second, third = ({"modality": "wave", "model": name} for name in ("a", "b"))
    with pytest.raises(InputError) as caught:
        run(small_spec(more_teachers=[second, third]), data, tmp_path / "out", options=options)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("incompatible", "/more_teachers/1/model")
    # The same one twice is fine, if of little use.
    twice = small_spec(more_teachers=[second, second], training={"epochs": 1, "batch_size": 16})
    assert len(run(twice, data, tmp_path / "twice", options=options).more_teachers) == 2


PROBLEMS: list[tuple[dict[str, Any], str, str]] = [
    ({"modality": "smell"}, "missing_column", "/more_teachers/0/modality"),
    (
        {"modality": "clean", "architecture": {"name": "conv1d"}},
        "incompatible",
        "/more_teachers/0/architecture",
    ),
    (
        {"modality": "clean", "train": {"batch_size": 97}},
        "dataset_too_small",
        "/more_teachers/0/train/batch_size",
    ),
    ({"modality": "clean", "architecture": {"name": "mlp", "width": 1}}, "incompatible", "/method"),
]


@pytest.mark.parametrize(("teacher", "code", "pointer"), PROBLEMS)
def test_what_does_not_fit_is_refused_early(
    teacher: dict[str, Any], code: str, pointer: str, data: Path, tmp_path: Path
) -> None:
    spec = small_spec(more_teachers=[teacher])
    report = load_dataset(data, None).report
    assert [(problem.code, problem.pointer) for problem in check(spec, report)] == [(code, pointer)]
    with pytest.raises(InputError) as caught:
        run(spec, data, tmp_path / "out", options=OPTIONS)
    assert (code, pointer) in [(problem.code, problem.pointer) for problem in caught.value.problems]
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_named(data: Path, tmp_path: Path) -> None:
    spec = small_spec(more_teachers=[{"modality": "clean", "model": "nowhere"}])
    with pytest.raises(InputError) as caught:
        run(spec, data, tmp_path / "out", options=OPTIONS)
    assert caught.value.problems[0].pointer == "/more_teachers/0/model"
    with pytest.raises(ValueError, match="/more_teachers/0/model"):
        check(spec, load_dataset(data, None).report)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"more_teachers": [SECOND], "method": {"name": "none"}}, "/more_teachers"),
        ({"more_teachers": [SECOND] * 4}, "/more_teachers"),
        ({"more_teachers": [{**SECOND, "model": "x"}]}, "/more_teachers/0"),
        ({"more_teachers": [{**SECOND, "weight": -1.0}]}, "/more_teachers/0/weight"),
        ({"teacher_weighting": "votes"}, "/teacher_weighting"),
    ],
)
def test_the_spec_is_read_strictly(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        small_spec(**changes)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_the_better_teacher_counts_for_the_gap(whole: tuple[Path, RunResult, list[Any]]) -> None:
    result = whole[1]
    assert result.teacher is not None
    assert result.control is not None
    assert result.uplift is not None
    best = max(result.teacher, *result.more_teachers, key=lambda model: model.val.accuracy)
    gap = best.test.accuracy - result.control.test.accuracy
    assert gap > 0.01
    assert result.uplift.teacher_gap_closed == pytest.approx(result.uplift.test_accuracy / gap)
    assert np.isfinite(result.uplift.teacher_gap_closed)
