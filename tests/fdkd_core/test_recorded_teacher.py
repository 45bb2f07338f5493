"""A teacher of which there are only its outputs teaches what it would have taught itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from paired_arrays import in_splits, paired_dataset
from small_job import small_comparison, small_spec, small_study, write_small_data

from fdkd_core.bundle import load_bundle
from fdkd_core.errors import IncompatibleError
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import OutputColumnsSpec
from fdkd_core.spec.result import CompareResult, RunResult, StudyResult
from fdkd_core.training.evaluation import predict_rows

OPTIONS = RunOptions(device="cpu", threads=1)
BOTH = {"features": "pooled", "logits": "scores"}
BRIEF = {"epochs": 1, "batch_size": 16}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """Data with what a teacher said of every row, and a run with that teacher itself."""
    folder = tmp_path_factory.mktemp("recorded")
    plain = run(
        small_spec(training=BRIEF, controls={"no_teacher": False}),
        write_small_data(folder / "small.npz"), folder / "trained", options=OPTIONS,
    )  # fmt: skip
    assert isinstance(plain, RunResult)
    bundle = load_bundle(folder / "trained" / "teacher")
    arrays = dict(np.load(folder / "small.npz"))
    with torch.no_grad():
        said = bundle.model(torch.from_numpy(bundle.preprocessor.prepare(list(arrays["clean"]))))
    np.savez(
        folder / "recorded.npz", **arrays, pooled=said.features.numpy(), scores=said.logits.numpy(),
        chances=said.logits.softmax(dim=1).numpy(),
    )  # fmt: skip
    result = run(
        small_spec(teacher={"modality": "clean", "model": "teacher"}, training=BRIEF),
        folder / "recorded.npz", folder / "given",
        options=RunOptions(device="cpu", threads=1, models={"teacher": folder / "trained" / "teacher"}),
    )  # fmt: skip
    assert isinstance(result, RunResult)
    return folder / "recorded.npz", result


def test_the_student_is_the_one_that_the_teacher_itself_makes(
    taught: tuple[Path, RunResult], tmp_path: Path
) -> None:
    data, given = taught
    result = run(
        small_spec(teacher={"outputs_from": BOTH}, training=BRIEF), data, tmp_path / "out", options=OPTIONS
    )
    assert isinstance(result, RunResult)
    assert result.teacher is not None
    assert given.teacher is not None
    assert result.teacher.val.accuracy == given.teacher.val.accuracy
    assert result.teacher.test == pytest.approx(given.teacher.test)
    assert result.teacher.architecture == {"name": "recorded", **BOTH}
    assert (result.teacher.parameters, result.teacher.epochs, result.teacher.latency) == (0, 0, None)
    # The rows were asked in other batches, so the outputs agree but for rounding.
    assert result.student.val.loss == pytest.approx(given.student.val.loss, rel=1e-3)
    assert result.uplift is not None
    assert given.uplift is not None
    assert result.uplift.teacher_gap_closed == pytest.approx(given.uplift.teacher_gap_closed, abs=0.1)
    assert result.control is not None
    assert result.control.weights_sha256 == given.control.weights_sha256  # type: ignore[union-attr]
    assert result.teacher_bundle is None
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert "Distilled from a teacher recorded in pooled and scores" in card


def test_without_logits_nobody_knows_how_good_the_teacher_is(
    taught: tuple[Path, RunResult], tmp_path: Path
) -> None:
    spec = small_spec(teacher={"outputs_from": {"features": "pooled"}}, training=BRIEF)
    result = run(spec, taught[0], tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.teacher is None
    assert result.uplift is not None
    assert result.uplift.teacher_gap_closed is None
    assert result.taught[0].paired_rows == 96
    assert result.student.weights_sha256 != result.control.weights_sha256  # type: ignore[union-attr]
    assert "recorded in pooled" in (tmp_path / "out" / "student" / "README.md").read_text()


def test_logits_alone_teach_by_logits(taught: tuple[Path, RunResult], tmp_path: Path) -> None:
    spec = small_study(
        teacher={"outputs_from": {"logits": "scores"}}, training=BRIEF, method={"name": "logit_kd"},
        tuning={"trials": 1}, seeds=1,
    )  # fmt: skip
    result = run(spec, taught[0], tmp_path / "out", options=OPTIONS)
    assert isinstance(result, StudyResult)
    assert result.teacher is not None
    assert result.teacher.val.accuracy == taught[1].teacher.val.accuracy  # type: ignore[union-attr]


def test_a_comparison_shares_the_columns(taught: tuple[Path, RunResult], tmp_path: Path) -> None:
    spec = small_comparison(
        teacher={"outputs_from": {"features": "pooled"}}, training=BRIEF, tuning={"trials": 1}, seeds=1,
        methods=[{"name": "feature_mse"}],
    )  # fmt: skip
    result = run(spec, taught[0], tmp_path / "out", options=OPTIONS)
    assert isinstance(result, CompareResult)
    assert result.teacher is None
    assert [arm.error for arm in result.arms] == [None, None, None]
    assert not (tmp_path / "out" / "teacher").exists()


def test_probabilities_are_no_logits(taught: tuple[Path, RunResult], tmp_path: Path) -> None:
    spec = small_spec(teacher={"outputs_from": {"logits": "chances"}}, method={"name": "logit_kd"})
    with pytest.raises(IncompatibleError) as caught:
        run(spec, taught[0], tmp_path / "out", options=OPTIONS)
    (problem,) = caught.value.problems
    assert problem.pointer == "/teacher/outputs_from/logits"
    assert "probabilities" in problem.detail
    assert not (tmp_path / "out").exists()


def test_outputs_are_given_as_they_were_recorded_to_rows_that_have_all() -> None:
    rng = np.random.default_rng(0)
    values = 5 + 3 * rng.standard_normal((10, 4))
    data = paired_dataset(values, values[:, :3], np.arange(10) % 3, in_splits(8, 1, 1))
    data.modalities["teacher"].index[2] = -1
    data.modalities["student"].index[5] = -1
    model = RecordedTeacher(OutputColumnsSpec(features="teacher", logits="student"), data)
    rows = np.arange(8)
    assert model.has(rows).tolist() == [True, True, False, True, True, False, True, True]
    found = predict_rows(model, data.modalities["teacher"], np.array([0, 7]), torch.device("cpu"))
    np.testing.assert_array_equal(found.features, values[[0, 7]].astype(np.float32))
    np.testing.assert_array_equal(found.logits, values[[0, 7], :3].astype(np.float32))
    alone = RecordedTeacher(OutputColumnsSpec(logits="student"), data)
    assert alone.outputs(np.array([0])).features.shape == (1, 0)
    assert alone.has(rows).tolist() == [row != 5 for row in rows]
    with pytest.raises(RuntimeError, match="by row"):
        model(torch.zeros(1, 4))
