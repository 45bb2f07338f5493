"""Whole diagnoses of tasks beside classification: planted data, and the same with a fault."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scene_data import NETWORK, scene_spec, write_scenes
from task_diagnoses import Fault, diagnose_planted, diagnose_task, said, write_faulty

from fdkd_client.cli.diagnosis_view import diagnosis_view
from fdkd_core.console import show_result
from fdkd_core.spec.findings import DiagnosisResult
from fdkd_core.spec.result import parse_result

FIGURES = {"multilabel": "mAP", "regression": "R²", "retrieval": "recall@1", "pair": "recall@1",
           "segmentation": "mIoU"}  # fmt: skip
STRATA = {"multilabel": "class set", "regression": "label range", "retrieval": "label", "pair": "label",
          "segmentation": "pixel class"}  # fmt: skip
QUICK, SLOW = ("regression",), ("multilabel", "pair", "retrieval", "segmentation")
# How other tasks are spoken of.
FOREIGN = {
    "multilabel": ("accuracy",),
    "regression": ("accuracy", "classes", "class ", "points"),
    "retrieval": ("accuracy", "classes", "class "),
    "pair": ("accuracy", "classes", "class "),
    "segmentation": ("within class",),
}


def shown(result: DiagnosisResult) -> list[str]:
    """On the core's console and by the client, in 80 columns."""
    core, client = io.StringIO(), io.StringIO()
    show_result(Console(file=core, width=80), result, Path("out"))
    Console(file=client, width=80).print(diagnosis_view(result.model_dump(mode="json")))
    return [" ".join(written.getvalue().split()) for written in (core, client)]


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.long) for kind in SLOW)])
def test_a_teacher_that_knows_more_and_shares_something_is_for(kind: str, tmp_path: Path) -> None:
    result = diagnose_planted(kind, tmp_path)
    found = result.findings
    speaks = said(result)
    assert {speaks[rule] for rule in ("pairing", "alignment", "teacher", "headroom", "similarity")} == {"for"}
    assert speaks["power"] == "unclear"  # of 60 rows
    assert found.task == ("retrieval" if kind == "pair" else kind)
    assert found.similarity.stratum == STRATA[kind]
    # A cause that no label speaks of is in both views.
    assert any(m.is_above_within_class for m in found.similarity.measures if m.band == "whole")
    assert found.headroom.gap > 3 * found.headroom.standard_error > 0
    assert [probe.accuracy for probe in found.headroom.probes] == [None] * 6
    assert parse_result((tmp_path / "out-none" / "result.json").read_bytes()) == result
    report = (tmp_path / "out-none" / "report" / "diagnosis.md").read_text()
    for text in (report, *shown(result)):
        assert FIGURES[kind] in text
        assert f"within {STRATA[kind]}" in text
        for word in FOREIGN[kind]:
            assert word not in text


@pytest.mark.long
@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize(
    ("fault", "rules"),
    [("shifted", {"alignment"}), ("noise", {"headroom", "similarity"})],
)
def test_a_fault_is_blamed_by_its_rule(kind: str, fault: Fault, rules: set[str], tmp_path: Path) -> None:
    result = diagnose_planted(kind, tmp_path, fault)
    against = {rule for rule, speaks in said(result).items() if speaks == "against"}
    assert rules <= against
    assert ("alignment" in against) == (fault == "shifted")
    assert result.verdict == "unpromising"


@pytest.mark.long
def test_errors_are_better_where_they_are_smaller(tmp_path: Path) -> None:
    training = {"epochs": 8, "batch_size": 16, "augment": "none", "select_by": "rmse"}
    result = diagnose_planted("regression", tmp_path, training=training)
    found = result.findings.headroom
    assert found.metric == "rmse"
    assert found.teacher < found.student < found.chance
    assert found.gap == pytest.approx(found.student - found.teacher)
    assert found.student == min(p.figures["rmse"] for p in found.probes if p.part == "student")
    text = next(reason.text for reason in result.reasons if reason.rule == "headroom")
    assert "smaller by" in text
    assert said(result)["headroom"] == said(result)["teacher"] == "for"
    assert "take off" in next(reason.text for reason in result.reasons if reason.rule == "power")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes.npz", 80)


def test_a_segmentation_is_looked_at_by_place(scenes: Path, tmp_path: Path) -> None:
    """The quick relative of the planted one: networks that have learnt little."""
    training = {"epochs": 4, "batch_size": 16, "augment": "none", "optimizer": {"name": "sgd", "lr": 0.1}}
    teacher = {"modality": "colour", "architecture": NETWORK, "train": training}
    result = diagnose_task(scene_spec(teacher=teacher, training=training), scenes, tmp_path / "out")
    found = result.findings
    assert found.similarity.places == found.sample.measured_rows
    assert found.similarity.stratum == "pixel class"
    assert found.pairing.blank_labels == 0
    assert all(scan.shuffled_within_class is None for scan in found.pairing.alignment)
    by_view = {(p.part, p.view): p.figures["mean_iou"] for p in found.headroom.probes}
    # The last layer of a network is a linear probe on its features, and ours learned from a few places.
    assert by_view["teacher", "features"] > by_view["teacher", "network"] - 0.1
    assert by_view["teacher", "inputs"] > found.headroom.chance + 0.2
    report = (tmp_path / "out" / "report" / "diagnosis.md").read_text()
    assert f"one place of each picture ({found.similarity.places} with a label)" in report
    assert "mask holds one value alone: 0" in report
    for text in shown(result):
        assert f"mIoU on {found.sample.val_rows} validation rows" in " ".join(text.split())


@pytest.mark.long
def test_what_stands_at_a_place_of_any_picture_is_not_taken_for_similarity(
    scenes: Path, tmp_path: Path
) -> None:
    """Floors are below in all scenes, and so in pairs of two different ones."""
    data = write_faulty(tmp_path / "noise.npz", dict(np.load(scenes)), "colour", "noise")
    (tmp_path / "noise.dataset.yaml").write_text("modalities: {depth: {kind: depth}}\n")
    training = {"epochs": 2, "batch_size": 16, "augment": "none"}
    teacher = {"modality": "colour", "architecture": NETWORK, "train": training}
    result = diagnose_task(scene_spec(teacher=teacher, training=training), data, tmp_path / "out")
    assert not any(m.is_above_shuffled for m in result.findings.similarity.measures if m.measure == "r2")
