"""A student that knows no more than who looks at no sample is told to its user, whatever it gains."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_samples import result as model_result
from rich.console import Console
from small_job import small_spec, write_small_data

from fdkd_client.cli.run_view import run_view
from fdkd_client.figures import RunFigures
from fdkd_core.console import show_result
from fdkd_core.data.table import TargetScale
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import MLPSpec, MultilabelSpec, RegressionSpec, RetrievalSpec
from fdkd_core.spec.figures import ClassificationMetrics, figure
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.tasks import VOID
from fdkd_core.spec.uplift import ChanceLevel, Uplift
from fdkd_core.tasks.classification import Classification
from fdkd_core.tasks.multilabel import Multilabel
from fdkd_core.tasks.regression import Regression
from fdkd_core.tasks.retrieval import Retrieval
from fdkd_core.tasks.segmentation import Segmentation
from fdkd_core.uplift import measure_uplift

OPTIONS = RunOptions(device="cpu", threads=1)
ROWS = 200


def measured(student: np.ndarray, control: np.ndarray, labels: np.ndarray, **given: Any) -> ChanceLevel:
    """Of predictions of two classes."""
    models = {}
    for role, predicted in (("student", student), ("control", control)):
        found = Classification().metrics(np.eye(2, dtype=np.float32)[predicted], labels)
        assert isinstance(found, ClassificationMetrics)
        update = {"val": found, "test": found, "weights_sha256": role}
        models[role] = model_result("m", MLPSpec(), 0.5).model_copy(update=update)
    answers = (np.eye(2, dtype=np.float32)[predicted] for predicted in (student, control))
    uplift = measure_uplift(Classification(), models, labels, *answers, **{"learned": labels, **given})
    assert isinstance(uplift, Uplift)
    assert uplift.chance is not None
    return uplift.chance


def mostly(labels: np.ndarray, wrong: int) -> np.ndarray:
    """Right but for so many rows, each of both classes in turn."""
    rows = np.argsort(np.arange(len(labels)) % (len(labels) // wrong), kind="stable")[:wrong]
    return np.where(np.isin(np.arange(len(labels)), rows), 1 - labels, labels)


def test_who_is_better_than_the_most_frequent_class_is_told_nothing() -> None:
    labels = np.array([0, 0, 0, 1] * 50)
    found = measured(mostly(labels, 20), mostly(labels, 40), labels)
    assert (found.metric, found.value) == ("accuracy", 0.75)
    assert (found.student, found.control) == pytest.approx((0.15, 0.05))
    assert found.warning == ""


def test_neither_is_better() -> None:
    labels = np.array([0, 0, 0, 1] * 50)
    found = measured(mostly(labels, 50), np.zeros(ROWS, int), labels)
    assert found.student == pytest.approx(0.0)
    assert (found.control, found.control_noise) == (0.0, 0.0)
    assert found.warning == (
        "Neither the student (75.0 %) nor its control (75.0 %) is better in accuracy, beyond noise, than "
        "always saying the most frequent class, or drawing one as often as it occurs (75.0 %): whatever the "
        "one gains over the other, they do not know enough to be of use."
    )


def test_the_control_alone_is_better() -> None:
    labels = np.array([0, 0, 0, 1] * 50)
    found = measured(np.zeros(ROWS, int), mostly(labels, 10), labels)
    assert found.warning.startswith("The student (75.0 %) is not better in accuracy, beyond noise, than ")
    assert found.warning.endswith(" (75.0 %), as its control is.")


def test_a_lead_within_the_noise_is_none() -> None:
    """3 points ahead, where these rows leave about 6 uncertain; on twenty times the rows it is a lead."""
    labels = np.array([0, 0, 0, 1] * 50)
    few = measured(mostly(labels, 44), mostly(labels, 44), labels)
    many = measured(*(np.tile(rows, 20) for rows in (mostly(labels, 44), mostly(labels, 44), labels)))
    assert few.student == many.student == pytest.approx(0.03)
    assert few.student_noise is not None
    assert few.student_noise > 0.03
    assert few.warning
    assert not many.warning
    # Rows of two speakers, of whom one is understood: that is no lead over another's.
    by_speaker = measured(
        np.where(np.arange(ROWS) < 100, labels, 0),
        labels,
        labels,
        groups_N=np.repeat([0, 1], 100),
    )
    assert by_speaker.student == pytest.approx(0.125)
    assert by_speaker.warning


def test_it_is_the_figure_that_picks_the_weights() -> None:
    """Who finds rare rows is of use, even if who never does is right in 95 of 100."""
    labels = np.array([0] * 190 + [1] * 10)
    finds = np.array([0] * 175 + [1] * 25)
    assert measured(finds, finds, labels).warning
    found = measured(finds, finds, labels, select_by="macro_f1")
    assert found.metric == "macro_f1"
    assert found.warning == ""
    assert measured(finds, finds, labels, select_by="loss").metric == "accuracy"


def test_what_is_known_of_frequency_is_learned() -> None:
    labels = np.array([0, 0, 0, 1] * 50)
    assert measured(labels, labels, labels, learned=labels).value == 0.75
    # Where the split is another way round: 1 is frequent in training, and right in 0.25; drawing 0 once and 1
    # three times of four is right in 0.25 * 0.75 + 0.75 * 0.25.
    assert measured(labels, labels, labels, learned=1 - labels).value == 0.375


def test_the_shares_of_each_task_are_of_the_answers_whose_figure_it_is() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (2, ROWS))
    sets = (rng.random((2, ROWS, 3)) < [0.7, 0.5, 0.2]).astype(np.float32)
    numbers = rng.gamma(1.0, size=(2, ROWS, 2)).astype(np.float32)
    masks = rng.choice(np.array([0, 1, 2, VOID], np.uint8), (2, ROWS, 4, 4), p=[0.2, 0.5, 0.2, 0.1])
    scale = TargetScale(("a", "b"), np.zeros(2, np.float32), np.ones(2, np.float32))
    for task, (fitted, labels), metric in (
        (Classification(), classes, "accuracy"),
        (Multilabel(MultilabelSpec()), sets, "exact_match"),
        (Regression(RegressionSpec(), scale), numbers, "mae"),
    ):
        blind = task.chance(metric, fitted, labels)
        assert abs(blind.shares.mean()) == pytest.approx(blind.value, rel=1e-5)
    pixels = Segmentation().chance("pixel_accuracy", *masks)
    assert pixels.value == pytest.approx((masks[1] == 1).sum() / (masks[1] != VOID).sum())
    per_mask = [(mask == 1).sum() / max((mask != VOID).sum(), 1) for mask in masks[1]]
    assert np.corrcoef(pixels.shares, per_mask)[0, 1] > 0.95
    found = Retrieval(RetrievalSpec()).chance("recall_at_1", *classes)
    assert found.value == pytest.approx(1 / 3, abs=0.02)
    assert not found.shares.any()


@pytest.mark.parametrize("metric", ["mean_ap", "macro_f1", "micro_f1", "exact_match"])
def test_no_constant_of_the_classes_is_better(metric: str) -> None:
    rng = np.random.default_rng(1)
    sets = (rng.random((ROWS, 3)) < [0.7, 0.5, 0.2]).astype(np.float32)
    task = Multilabel(MultilabelSpec())
    blind = task.chance(metric, sets, sets)
    for code in range(8):
        answer = np.where([code & 1, code & 2, code & 4], 5.0, -5.0).astype(np.float32)
        assert figure(task.metrics(np.tile(answer, (ROWS, 1)), sets), metric) <= blind.value + 1e-9


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose labels belong to nothing."""
    folder = tmp_path_factory.mktemp("noise")
    with np.load(write_small_data(folder / "small.npz")) as found:
        arrays = dict(found)
    rng = np.random.default_rng(3)
    arrays["label"] = rng.permutation(arrays["label"])
    np.savez(folder / "noise.npz", **arrays)
    return folder / "noise.npz"


def test_it_is_told_everywhere(noise: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    found = run(small_spec(), noise, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(found, RunResult)
    assert found.uplift is not None
    assert found.uplift.chance is not None
    with np.load(noise) as arrays:
        trained, tested = (arrays["label"][arrays["split"] == split] for split in ("train", "test"))
    assert found.uplift.chance.value == (tested == np.bincount(trained).argmax()).mean()
    assert found.uplift.chance.value < np.bincount(tested).max() / len(
        tested
    )  # which nobody knows beforehand
    warning = found.uplift.chance.warning
    assert warning.startswith("Neither the student")
    assert warning in [event["message"] for event in events if event["event"] == "warning"]
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert f"**{warning}**" in card
    console = Console(record=True, width=400, file=io.StringIO())
    show_result(console, found, tmp_path / "out")
    console.print(run_view(RunFigures.model_validate(found.model_dump(mode="json"))))
    assert console.export_text().count(warning) == 2


def test_a_search_tells_it_too(noise: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    method = {"name": "auto", "methods": [{"name": "logit_kd"}], "trials": 2, "seeds": 2, "finalists": 1}
    found = run(small_spec(method=method), noise, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(found, RunResult)
    assert found.auto is not None
    assert found.uplift is not None
    assert found.uplift.chance is not None
    assert found.auto.winner_label == "no_teacher"
    assert found.uplift.chance.warning.startswith("The student (")
    assert found.uplift.chance.warning.endswith("): it does not know enough to be of use.")
    assert [event["message"] for event in events if event["event"] == "warning"] == [
        found.uplift.chance.warning
    ]
