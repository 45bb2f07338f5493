"""Jobs of retrieval, from data that the project makes to a search with the student's embeddings."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from retrieval_data import (
    DIM,
    ROWS_EACH,
    retrieval_arrays,
    retrieval_spec,
    write_paired_vectors,
    write_retrieval_data,
)

import fdkd_core
from fdkd_core.bundle.predictions import RetrievalPrediction
from fdkd_core.errors import IncompatibleError, SpecError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import RetrievalSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.result import RunResult, parse_result
from fdkd_core.tasks.retrieval import Retrieval
from fdkd_core.validate import validate_dataset

OPTIONS = RunOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_retrieval_data(tmp_path_factory.mktemp("data") / "open.npz")


@pytest.fixture(scope="module")
def report(data: Path) -> dict[str, Any]:
    """As the upload is reported on, before anybody says what it is for."""
    return validate_dataset(data)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    out = tmp_path_factory.mktemp("run") / "out"
    spec = retrieval_spec(gates=[{}], export={"onnx": True, "latency_s": 0.0})
    result = run(spec, data, out, options=OPTIONS)
    assert isinstance(result, RunResult)
    return out, result


def split_of_test() -> tuple[NDArray[Any], NDArray[Any]]:
    """Waves and labels of the test split, of whom training shows nobody."""
    arrays = retrieval_arrays()
    is_test = arrays["split"] == "test"
    assert set(arrays["label"][is_test]).isdisjoint(arrays["label"][arrays["split"] == "train"])
    return arrays["wave"][is_test], arrays["label"][is_test]


def test_an_upload_says_that_its_labels_are_identities(report: dict[str, Any]) -> None:
    assert report["label_form"] == "identity"
    assert len(report["classes"]) == 82
    assert report["splits"]["test"]["classes"]["80"] == ROWS_EACH
    assert "labels are identities, for retrieval: 32 of 82 do not occur in training" in report["warnings"]
    assert check(retrieval_spec(), report) == []
    (problem,) = check(retrieval_spec(task={"kind": "classification"}), report)
    assert (problem.code, problem.pointer) == ("incompatible", "/task/kind")
    assert "for retrieval; classification reads one class a row" in problem.detail


def test_both_models_learn_to_find_whom_training_lacks(finished: Any) -> None:
    _, result = finished
    waves, labels = split_of_test()
    as_it_is = Retrieval(RetrievalSpec()).metrics(waves.reshape(len(waves), -1), labels)
    chance = (ROWS_EACH - 1) / (len(labels) - 1)
    assert result.teacher.test.recall_at_1 > 0.9
    assert min(result.student.test.recall_at_1, result.control.test.recall_at_1) > 0.4
    assert as_it_is.recall_at_1 < 0.2
    assert chance < 0.04
    assert result.student.test.num_queries == 80
    gain = result.uplift.gains[0]
    assert gain.metric == "recall_at_1" == result.gates[0].metric
    assert gain.test == result.student.test.recall_at_1 - result.control.test.recall_at_1
    assert gain.standard_error > 0.0
    assert gain.groups == len(np.unique(labels)) < len(labels)  # as many as succeed or fail by themselves
    assert [found.metric for found in result.uplift.gains[1:]] == [
        "recall_at_5", "recall_at_10", "mean_reciprocal_rank",
    ]  # fmt: skip


def test_result_events_and_card_tell_the_figures(finished: Any) -> None:
    out, result = finished
    assert parse_result((out / "result.json").read_bytes()) == result
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    epoch = next(event for event in events if event["event"] == "epoch")
    assert {"recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank", "loss"} <= set(epoch)
    card = (out / "student" / "README.md").read_text()
    for words in ("test recall@1", "recall@10", f"Numbers of an embedding: {DIM}\n", "prediction.embedding"):
        assert words in card


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_search_with_the_student_finds_what_the_result_says(finished: Any, backend: Any) -> None:
    """The search that the documentation shows."""
    out, result = finished
    waves, labels = split_of_test()
    found = fdkd_core.load_student(out / "student", backend=backend).predict_many(list(waves))
    assert isinstance(found[0], RetrievalPrediction)
    gallery = np.array([prediction.embedding for prediction in found])
    assert gallery.shape == (80, DIM)
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1.0)
    cosines = gallery @ gallery.T
    np.fill_diagonal(cosines, -2.0)
    hits = (labels[cosines.argmax(axis=1)] == labels).mean()
    assert hits == pytest.approx(result.student.test.recall_at_1)


def test_the_bare_graph_and_the_example_without_us_agree(finished: Any, tmp_path: Path) -> None:
    out, _ = finished
    wave = split_of_test()[0][0]
    expected = fdkd_core.load_student(out / "student").predict(wave).embedding
    np.save(tmp_path / "value.npy", wave)
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "predict_onnx.py"))
    found = example["predict"](out / "student", tmp_path / "value.npy")
    assert found["embedding"] == pytest.approx(expected, abs=1e-5)
    session = onnxruntime.InferenceSession(out / "student" / "model.onnx")
    assert session.get_outputs()[0].shape[1] == DIM
    manifest = json.loads((out / "student" / "manifest.json").read_text())
    assert manifest["onnx"]["equal_predictions"] == 80


def test_a_trained_teacher_teaches_the_next_job(finished: Any, data: Path, tmp_path: Path) -> None:
    """And pairs by label, which a row of retrieval has."""
    out, first = finished
    given = {"modality": "clean", "model": "teacher"}
    options = RunOptions(device="cpu", threads=1, models={"teacher": out / "teacher"})
    short = {"epochs": 1, "batch_size": 32, "augment": "none"}
    spec = retrieval_spec(
        teacher=given, training=short, pairing="class", method={"name": "fd_cmkd"},
        controls={"no_teacher": False},
    )  # fmt: skip
    result = run(spec, data, tmp_path / "out", options=options)
    assert result.teacher.test == first.teacher.test
    wider = retrieval_spec(task={"embedding_dim": 2 * DIM}, teacher=given)
    with pytest.raises(IncompatibleError, match=f"have {DIM} numbers; the job's {2 * DIM}"):
        run(wider, data, tmp_path / "wider", options=options)


ONE_CLASS = [
    ({"method": {"name": name}}, "/method") for name in ("c2kd", "dist", "dkd", "lskd", "nkd", "ofa_kd")
]
SECOND = {"modality": "wave", "architecture": {"name": "mlp", "width": 8}}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        *ONE_CLASS,
        ({"method": {"name": "auto", "methods": [{"name": "rkd"}, {"name": "dist"}]}}, "/method/methods/1"),
        ({"more_teachers": [SECOND], "teacher_weighting": "confidence"}, "/teacher_weighting"),
    ],
    ids=repr,
)
def test_what_needs_scores_of_classes_is_refused(
    report: dict[str, Any], changes: dict[str, Any], pointer: str
) -> None:
    (problem,) = check(retrieval_spec(**changes), report)
    assert (problem.code, problem.pointer) == ("incompatible", pointer)


@pytest.mark.parametrize(
    "method",
    [{"name": "crd"}, {"name": "rkd"}, {"name": "pkd"}, {"name": "fd_cmkd", "basis": "class"}],
    ids=repr,
)
def test_what_asks_for_the_label_alone_fits(report: dict[str, Any], method: dict[str, Any]) -> None:
    assert check(retrieval_spec(method=method), report) == []


def test_auto_tries_what_fits() -> None:
    spec = retrieval_spec(method={"name": "auto"})
    assert [method.name for method in spec.method.methods] == ["logit_kd", "fd_cmkd", "combine"]
    assert spec.training.select_by == "recall_at_1"
    assert load_spec(spec.model_dump(mode="json")) == spec


def test_classes_that_training_knows_can_be_found_or_named(tmp_path: Path) -> None:
    closed = validate_dataset(write_retrieval_data(tmp_path / "closed.npz", is_open=False))
    assert closed["label_form"] == "class"
    assert check(retrieval_spec(), closed) == []
    assert check(retrieval_spec(task={"kind": "classification"}, method={"name": "none"}), closed) == []


def test_a_split_in_which_nobody_can_be_found_is_refused(tmp_path: Path) -> None:
    arrays = retrieval_arrays()
    arrays["label"][arrays["split"] == "val"] = np.arange(1000, 1048)
    np.savez(tmp_path / "lonely.npz", **arrays)
    (problem,) = check(retrieval_spec(), validate_dataset(tmp_path / "lonely.npz"))
    assert (problem.code, problem.pointer) == ("dataset_too_small", "/dataset")
    assert "no two rows of val share a label" in problem.detail


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paired_vectors(tmp_path_factory.mktemp("vectors") / "vectors.npz")


def test_rows_find_the_vectors_that_they_are_paired_with(vectors: Path, tmp_path: Path) -> None:
    """The search of one modality by another: the vectors are another model's, of whom training lacks too."""
    spec = retrieval_spec(task={"embedding_dim": None, "relevant": "pair"})
    assert spec.training.select_by == "recall_at_1"
    result = run(spec, vectors, tmp_path / "out", options=OPTIONS)
    assert isinstance(result, RunResult)
    assert result.student.test.num_queries == 80
    # Of 20 vectors one is right.
    assert result.teacher.test.recall_at_1 > 0.5
    assert min(result.student.test.recall_at_1, result.control.test.recall_at_1) > 0.25
    with np.load(vectors) as opened:
        arrays = dict(opened)
    is_test = arrays["split"] == "test"
    gallery, own = np.unique(arrays["label"][is_test], axis=0, return_inverse=True)
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    answers = fdkd_core.load_student(tmp_path / "out" / "student").predict_many(list(arrays["wave"][is_test]))
    cosines = np.array([prediction.embedding for prediction in answers]) @ gallery.T
    assert (cosines.argmax(axis=1) == own.reshape(-1)).mean() == result.student.test.recall_at_1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"method": {"name": "dkd"}}, "/method"),
        ({"method": {"name": "crd"}}, "/method/exclude_same_class"),
        ({"method": {"name": "fd_cmkd", "basis": "class"}}, "/method/basis"),
        ({"pairing": "class"}, "/pairing"),
        ({"task": {"kind": "retrieval"}}, "/task/kind"),
    ],
    ids=repr,
)
def test_vectors_are_no_labels(vectors: Path, changes: dict[str, Any], pointer: str) -> None:
    report = validate_dataset(vectors)
    assert report["label_form"] == "numbers"
    by_vectors = {"kind": "retrieval", "relevant": "pair"}
    assert check(retrieval_spec(task=by_vectors), report) == []
    (problem,) = check(retrieval_spec(**{"task": by_vectors, **changes}), report)
    assert (problem.code, problem.pointer) == ("incompatible", pointer)


def test_the_width_is_that_of_the_vectors() -> None:
    with pytest.raises(SpecError) as caught:
        retrieval_spec(task={"relevant": "pair"})
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("conflicting_fields", "/task/embedding_dim")
    assert len(RetrievalSpec().output_names or ()) == 128


def test_figures_of_another_task_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        retrieval_spec(training={"select_by": "accuracy"}, gates=[{"metric": "mean_ap"}])
    assert [(p.code, p.pointer) for p in caught.value.problems] == [
        ("not_allowed", "/training/select_by"), ("not_allowed", "/gates/0/metric"),
    ]  # fmt: skip
