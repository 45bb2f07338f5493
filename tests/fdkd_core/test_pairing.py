"""Rows without a teacher, and data paired by class only: what is learnt from them, and how a run resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planted import Planted, make_planted
from small_job import STEPS_PER_PHASE, small_spec, write_small_data

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import IncompatibleError, TrainingInterrupted
from fdkd_core.losses.logits import tempered_kl
from fdkd_core.methods import METHODS, build_method
from fdkd_core.methods.base import MethodContext
from fdkd_core.models import build_model
from fdkd_core.models.base import ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.run import run
from fdkd_core.spec import CombineSpec, DistillingSpec, LogitKDSpec, MLPSpec, TrainingSpec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.methods.combine import CombinedPart
from fdkd_core.spec.result import RunResult
from fdkd_core.teacher_views import paired_rows, view_rows
from fdkd_core.training.loop import Trainee, train_step

CPU = torch.device("cpu")
OPTIONS = RunOptions(device="cpu", threads=1)
COMBINED = {
    "name": "combine",
    "parts": [
        {"method": {"name": "fd_cmkd", "balance": "gradient_norm"}},
        {"method": {"name": "logit_kd", "weight_schedule": {"decay": "cosine"}}},
    ],
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    found = make_planted(0, num_train=64, num_test=64)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(found.teacher_outputs.logits.shape, generator=generator)
    return replace(found, teacher_outputs=ModelOutput(found.teacher_outputs.features, logits))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


def trainee_of(planted: Planted, **view: Any) -> Trainee:
    data = planted.data
    labels = torch.from_numpy(data.labels[data.splits["train"]])
    rows = view_rows(planted.teacher_outputs, labels, len(data.classes), **view)
    phase = Phase(
        "student",
        "inputs",
        MLPSpec(width=16, depth=1),
        "/student/architecture",
        TrainingSpec(epochs=1, batch_size=16, augment="none"),
        LogitKDSpec(),
        rows.outputs,
        rows.paired,
    )
    return make_trainee(phase, data, CPU)


def expected_term(trainee: Trainee, targets: torch.Tensor, taught: torch.Tensor, step: int) -> float:
    """The mean over the batch of the term where a row is taught and of zero elsewhere."""
    batch = trainee.batches.batch(step)
    with torch.no_grad():
        logits = trainee.model.train()(torch.from_numpy(batch.inputs)).logits
    losses = [
        float(tempered_kl(logits[i : i + 1], targets[p : p + 1], temperature=4.0)) if taught[p] else 0.0
        for i, p in enumerate(batch.positions)
    ]
    return float(np.mean(losses))


@pytest.mark.parametrize("fraction", [0.2, 0.6])
def test_rows_without_a_teacher_learn_the_labels_alone(planted: Planted, fraction: float) -> None:
    trainee = trainee_of(planted, paired_fraction=fraction, seed=3)
    labels = torch.from_numpy(planted.data.labels[planted.data.splits["train"]])
    taught = paired_rows(labels, fraction, 3)
    assert 0 < int(taught.sum()) < len(taught)
    expected = expected_term(trainee, planted.teacher_outputs.logits, taught, 0)
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    assert told.terms["logit"] == pytest.approx(expected, rel=1e-5)


def test_by_class_every_row_learns_the_mean_of_the_paired_ones(planted: Planted) -> None:
    trainee = trainee_of(planted, pairing="class", paired_fraction=0.5, seed=3)
    assert trainee.paired is None
    labels = torch.from_numpy(planted.data.labels[planted.data.splits["train"]])
    paired = paired_rows(labels, 0.5, 3)
    targets = torch.stack(
        [planted.teacher_outputs.logits[paired & (labels == label)].mean(dim=0) for label in labels]
    )
    everyone = torch.ones(len(labels), dtype=torch.bool)
    expected = expected_term(trainee, targets, everyone, 0)
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    assert told.terms["logit"] == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_any_teacher_trains_the_task_alone(planted: Planted) -> None:
    trainee = trainee_of(planted, paired_fraction=0.5)
    trainee.paired = torch.zeros(64, dtype=torch.bool)
    before = trainee.model.classifier.weight.detach().clone()
    told = train_step(trainee, trainee.batches.batch(0), lr=0.1, step=0)
    assert told.terms["logit"] == 0.0
    assert told.loss == pytest.approx(told.terms["task"])
    assert not torch.equal(before, trainee.model.classifier.weight)


def test_inputs_of_the_teacher_are_asked_for_paired_rows_only(planted: Planted) -> None:
    trainee = trainee_of(planted, paired_fraction=0.5)
    asked: list[int] = []

    def inputs(positions: np.ndarray) -> np.ndarray:
        asked.extend(positions.tolist())
        return np.zeros((len(positions), 2), np.float32)

    trainee.teacher_inputs = inputs
    batch = trainee.batches.batch(0)
    train_step(trainee, batch, lr=0.1, step=0)
    assert trainee.paired is not None
    assert asked == [position for position in batch.positions.tolist() if trainee.paired[position]]


def test_a_spec_knows_whether_its_method_needs_inputs() -> None:
    context = MethodContext(
        student_dim=16,
        teacher_dim=16,
        num_classes=3,
        teacher_outputs=ModelOutput(torch.zeros(6, 16), torch.zeros(6, 3)),
        labels=torch.arange(6) % 3,
        num_rows=6,
        teacher_model=build_model(MLPSpec(width=16), (4,), 3),
    )
    for kind in METHODS:
        if issubclass(kind, DistillingSpec) and kind is not CombineSpec:
            spec = kind()
            assert build_method(spec, context).needs_teacher_inputs == spec.needs_teacher_inputs, kind
            both = CombineSpec(parts=(CombinedPart(method=spec), CombinedPart(method=LogitKDSpec())))
            assert both.needs_teacher_inputs == spec.needs_teacher_inputs


CHANGES: list[dict[str, Any]] = [
    {"paired_fraction": 0.4, "method": COMBINED},
    {"paired_fraction": 0.4, "pairing": "class", "method": COMBINED},
]


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = run(small_spec(method=COMBINED), data, tmp_path_factory.mktemp("plain") / "out", options=OPTIONS)
    assert isinstance(found, RunResult)
    return found


@pytest.mark.parametrize("changes", CHANGES, ids=repr)
def test_a_stop_resumes_to_the_same_bits(
    changes: dict[str, Any], data: Path, plain: RunResult, tmp_path: Path
) -> None:
    whole = run(small_spec(**changes), data, tmp_path / "whole", options=OPTIONS)
    asked = iter([False] * (STEPS_PER_PHASE + 10) + [True] * 99)
    out = tmp_path / "out"
    with pytest.raises(TrainingInterrupted):
        run(small_spec(**changes), data, out, options=OPTIONS, should_stop=lambda: next(asked))
    resumed = run(small_spec(**changes), data, out, options=OPTIONS)
    assert isinstance(whole, RunResult)
    assert isinstance(resumed, RunResult)
    assert resumed.student.weights_sha256 == whole.student.weights_sha256
    assert resumed.taught == whole.taught
    # The pairing is a matter of the student alone.
    assert plain.teacher is not None
    assert plain.control is not None
    assert whole.teacher is not None
    assert whole.control is not None
    assert whole.teacher.weights_sha256 == plain.teacher.weights_sha256
    assert whole.control.weights_sha256 == plain.control.weights_sha256
    assert whole.student.weights_sha256 != plain.student.weights_sha256
    (taught,) = whole.taught
    assert (taught.pairing, taught.training_rows) == (changes.get("pairing", "instance"), 96)
    assert abs(taught.paired_rows - 0.4 * 96) <= 2
    card = (out / "student" / "README.md").read_text()
    assert f"{taught.paired_rows} of 96 training rows have a view of the teacher" in card


def test_all_pairs_are_the_default(plain: RunResult) -> None:
    (taught,) = plain.taught
    assert (taught.pairing, taught.paired_rows, taught.training_rows) == ("instance", 96, 96)


@pytest.fixture(scope="module")
def partly(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data, in which 30 training rows have nothing for the teacher to see."""
    arrays = np.load(data)
    return without_teacher(arrays, np.arange(30), tmp_path_factory.mktemp("partly") / "partly.parquet")


def without_teacher(arrays: Any, rows: np.ndarray, path: Path) -> Path:
    """Writes the data with nothing for the teacher to see in some rows."""
    clean: list[Any] = arrays["clean"].tolist()
    for row in rows.tolist():
        clean[row] = None
    columns = {name: arrays[name].tolist() for name in ("id", "split", "wave")}
    labels = [str(label) for label in arrays["label"]]
    pq.write_table(
        pa.table(
            {
                **columns,
                "label": labels,
                "clean": pa.array(clean, pa.list_(pa.float32())),
                "wave": pa.array(columns["wave"], pa.list_(pa.list_(pa.float32()))),
            }
        ),
        path,
    )
    return path


@pytest.mark.parametrize("pairing", ["instance", "class"])
def test_rows_without_a_teachers_sample_are_trained_on(
    pairing: str, partly: Path, plain: RunResult, tmp_path: Path
) -> None:
    spec, events = small_spec(pairing=pairing, method=COMBINED), []
    found = run(spec, partly, tmp_path / "whole", options=OPTIONS, on_event=events.append)
    assert isinstance(found, RunResult)
    (taught,) = found.taught
    assert (taught.paired_rows, taught.training_rows) == (66, 96)
    assert taught.untaught_rows == (30 if pairing == "instance" else 0)
    planned = {phase["name"]: phase["total_steps"] for phase in events[0]["phases"]}
    assert planned == {"teacher": 3 * 5, "student": STEPS_PER_PHASE, "control": STEPS_PER_PHASE}
    steps = [event for event in events if event["event"] == "step"]
    assert steps[-1]["job_step"] == sum(planned.values())
    # The student and its control see every row.
    assert found.control is not None
    assert plain.control is not None
    assert found.control.weights_sha256 == plain.control.weights_sha256
    asked = iter([False] * (15 + 10) + [True] * 99)
    with pytest.raises(TrainingInterrupted):
        run(spec, partly, tmp_path / "out", options=OPTIONS, should_stop=lambda: next(asked))
    again = run(spec, partly, tmp_path / "out", options=OPTIONS)
    assert isinstance(again, RunResult)
    assert again.student.weights_sha256 == found.student.weights_sha256


def test_a_class_without_a_teachers_sample_has_no_mean_and_the_result_says_so(
    data: Path, tmp_path: Path
) -> None:
    arrays = np.load(data)
    lacking = np.flatnonzero((arrays["split"] == "train") & (arrays["label"] == arrays["label"][0]))
    partly = without_teacher(arrays, lacking, tmp_path / "partly.parquet")
    found = run(small_spec(pairing="class"), partly, tmp_path / "out", options=OPTIONS)
    assert isinstance(found, RunResult)
    (taught,) = found.taught
    assert (taught.paired_rows, taught.untaught_rows) == (96 - len(lacking), len(lacking))
    assert f"but {len(lacking)} are of a class without one, from which" in taught.sentence


def test_too_few_rows_for_a_teacher_are_refused_early(partly: Path, tmp_path: Path) -> None:
    teacher = {"modality": "clean", "train": {"epochs": 1, "batch_size": 67}}
    spec = small_spec(teacher=teacher)
    report = load_dataset(partly, None).report
    (problem,) = check(spec, report)
    assert (problem.code, problem.pointer) == ("dataset_too_small", "/teacher/train/batch_size")
    assert "found 66" in problem.detail
    with pytest.raises(IncompatibleError) as caught:
        run(spec, partly, tmp_path / "out", options=OPTIONS)
    assert caught.value.problems == (problem,)


def test_the_other_way_round_rows_are_left_out(partly: Path, tmp_path: Path) -> None:
    """Where the student lacks them, there is nothing to train on."""
    spec = small_spec(teacher={"modality": "wave"}, student={"modality": "clean"}, training={"epochs": 1})
    found = run(spec, partly, tmp_path / "out", options=OPTIONS)
    assert isinstance(found, RunResult)
    (taught,) = found.taught
    assert (taught.paired_rows, taught.training_rows) == (66, 66)
