from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_samples import EVERY_KIND, Bundles, make_bundle, make_card, warmed
from plain_onnx import INPUTS, plain_network

from fdkd_core.bundle import export_trial, load_bundle
from fdkd_core.bundle.card_costs import costs_section
from fdkd_core.bundle.export_trial import ExportTrial, judge, try_export
from fdkd_core.bundle.onnx_int8 import quantise_dynamic, quantise_static
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.bundle.student import load_student
from fdkd_core.bundle.write import write_bundle
from fdkd_core.cost_words import cost_lines
from fdkd_core.errors import ModelFileError
from fdkd_core.spec import ExportSpec, MLPSpec
from fdkd_core.spec.export_result import BatchLatency, Latency, OnnxFile
from fdkd_core.spec.measures import MEASURES


def trial(**changes: Any) -> ExportTrial:
    """Labels that are the network's own answers, so that rounding can only lose."""
    spec = ExportSpec(**{"latency_s": 0.0, **changes})
    return trial_by_accuracy(spec, INPUTS, OnnxSession(plain_network())(INPUTS).argmax(axis=1))


def trial_by_accuracy(spec: ExportSpec, inputs: Any, labels: Any) -> ExportTrial:
    def score(parts: Any) -> float:
        return float((np.concatenate(list(parts)).argmax(axis=1) == labels).mean())

    return ExportTrial(spec, inputs, inputs, score, MEASURES["accuracy"])


def test_accuracy_is_measured_on_all_and_decides() -> None:
    found = try_export(plain_network(), trial(max_accuracy_loss=0.1))
    files = {"dynamic": quantise_dynamic(plain_network()), "static": quantise_static(plain_network(), INPUTS)}
    labels = OnnxSession(plain_network())(INPUTS).argmax(axis=1)
    assert (found.report.fp32.metric, found.report.fp32.val) == ("accuracy", 1.0)
    assert found.report.fp32.size_bytes == len(plain_network())
    assert [file.scheme for file in found.report.int8] == ["dynamic", "static"]
    for file in found.report.int8:
        agreeing = (OnnxSession(files[file.scheme])(INPUTS).argmax(axis=1) == labels).mean()
        assert file.val == agreeing < 1.0
        assert file.size_bytes == len(files[file.scheme])
        assert file.latency is None
    kept = found.report.kept
    assert kept is not None
    assert found.int8_file == files[kept.scheme]

    strict = try_export(plain_network(), trial(max_accuracy_loss=0.0))
    assert strict.int8_file is None
    assert strict.report.kept is None
    assert [file.val for file in strict.report.int8] == [file.val for file in found.report.int8]
    assert all(file.reason.startswith("Dropped as less accurate:") for file in strict.report.int8)

    without = try_export(plain_network(), trial(int8=False))
    assert (without.report.int8, without.int8_file) == ([], None)


def test_all_files_are_timed_on_one_thread() -> None:
    report = try_export(plain_network(), trial(latency_s=0.02)).report
    for file in (report.fp32, *report.int8):
        assert file.latency is not None
        assert (file.latency.runtime, file.latency.threads) == ("onnxruntime", 1)
        assert [batch.batch_size for batch in file.latency.batches] == [1, 32]


def test_what_cannot_be_rounded_costs_no_student(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **options: Any) -> bytes:
        raise RuntimeError("no such shape")

    monkeypatch.setattr(export_trial, "quantise_static", fail)
    report = try_export(plain_network(), trial(max_accuracy_loss=0.1)).report
    assert [file.scheme for file in report.int8] == ["dynamic"]
    assert report.int8_failures == ["static: RuntimeError: no such shape"]


def test_a_rounded_file_that_does_not_load_costs_no_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_trial, "quantise_static", lambda *_, **options: b"no network")
    exported = try_export(plain_network(), trial(max_accuracy_loss=0.1))
    assert [file.scheme for file in exported.report.int8] == ["dynamic"]
    (failure,) = exported.report.int8_failures
    assert failure.startswith("static: ModelFileError: ")


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_students_of_every_kind_can_be_rounded_both_ways(bundles: Bundles, kind: Any) -> None:
    summary, values = bundles(kind)
    bundle = load_bundle(summary.path)
    inputs = bundle.preprocessor.prepare(values)
    spec = ExportSpec(latency_s=0.0, max_accuracy_loss=1.0)
    labels = bundle.model(torch.from_numpy(inputs)).logits.argmax(dim=1).numpy()
    onnx_file = (summary.path / "model.onnx").read_bytes()
    report = try_export(onnx_file, trial_by_accuracy(spec, inputs, labels)).report
    assert report.int8_failures == []
    assert report.fp32.val == 1.0
    for file in report.int8:
        assert file.val >= 0.5, "of 12 samples; three classes by chance would be a third"


def test_a_file_that_answers_with_nan_is_not_even_judged() -> None:
    plain = trial(max_accuracy_loss=1.0)

    def score(parts: Any) -> float:
        if not np.array_equal(np.concatenate(list(parts)), OnnxSession(plain_network())(INPUTS)):
            raise FloatingPointError("the scores of a model are not finite")
        return 1.0

    report = try_export(plain_network(), dataclasses.replace(plain, score=score)).report
    assert report.int8 == []
    assert [text.split(":")[0] for text in report.int8_failures] == ["dynamic", "static"]


def test_what_has_no_figure_to_judge_by_is_measured_in_float_alone() -> None:
    why = "nothing tells what it loses"
    told = dataclasses.replace(trial(latency_s=0.02), no_int8=why)
    found = try_export(plain_network(), told)
    assert (found.report.int8, found.int8_file) == ([], None)
    assert found.report.int8_not_tried == why
    assert found.report.fp32.latency is not None
    assert f"not tried, because {why}." in costs_section([], found.report)
    assert cost_lines(None, None, found.report) == [("int8", f"not tried, because {why}")]
    off = dataclasses.replace(told, spec=ExportSpec(int8=False, latency_s=0.0))
    assert try_export(plain_network(), off).report.int8_not_tried is None


def onnx_file(
    size: int, accuracy: float, times: tuple[float, ...] = (), metric: Any = "accuracy"
) -> OnnxFile:
    batches = [
        BatchLatency(batch_size=batch, median_ms=time, p95_ms=time, repeats=9)
        for batch, time in zip((1, 32), times, strict=False)
    ]
    latency = Latency(runtime="onnxruntime", threads=1, batches=batches) if times else None
    return OnnxFile(file="f", size_bytes=size, metric=metric, val=accuracy, latency=latency)


@pytest.mark.parametrize(
    ("int8", "words"),
    [
        (onnx_file(250, 0.9, (0.5, 4.0)), "Kept: -75 % bytes, -50 % time for a sample, -50 % time for 32"),
        (onnx_file(250, 0.891, (1.0, 8.0)), "Kept: -75 % bytes, +0 % time"),
        (onnx_file(250, 0.889, (0.1, 0.8)), "Dropped as less accurate: -75 % bytes, -90 % time"),
        (onnx_file(990, 0.9, (0.98, 7.9)), "Dropped, for there is little to gain: -1 % bytes, -2 % time"),
        (onnx_file(990, 0.9, (0.997, 8.0)), "Dropped, for there is little to gain: -1 % bytes, +0 % time"),
        (onnx_file(990, 0.9, (1.0, 6.0)), "Kept: -1 % bytes, +0 % time for a sample, -25 % time for 32"),
        (onnx_file(250, 0.9, (1.3, 4.0)), "Dropped as slower: -75 % bytes, +30 % time for a sample"),
        (onnx_file(250, 0.9, (1.2, 4.0)), "Kept: -75 % bytes, +20 % time for a sample"),
        (onnx_file(250, 0.9), "Kept: -75 % bytes, +0.0 points of validation accuracy (at most 1.0 points"),
        (onnx_file(950, 0.9), "Dropped, for there is little to gain: -5 % bytes"),
        (onnx_file(250, 0.95, (1.0,)), "Kept: -75 % bytes, +0 % time for a sample, +5.0 points"),
    ],
)  # fmt: skip
def test_it_is_kept_where_it_helps(int8: OnnxFile, words: str) -> None:
    (found,) = judge(onnx_file(1000, 0.9, (1.0, 8.0)), {"static": int8}, 0.01)
    assert found.reason.startswith(words)
    assert found.kept == words.startswith("Kept")
    assert found.model_dump(exclude={"scheme", "kept", "reason"}) == int8.model_dump()


@pytest.mark.parametrize(
    ("metric", "before", "after", "words"),
    [
        ("mean_ap", 0.9, 0.891, "Kept: -75 % bytes, -0.9 points of validation mAP (at most 1.0 points may"),
        ("mean_ap", 0.9, 0.889, "Dropped as less accurate"),
        ("r2", 0.5, 0.491, "Kept: -75 % bytes, -0.009 of validation R² (at most 0.010 may be lost)."),
        ("r2", -0.5, -0.511, "Dropped as less accurate: -75 % bytes, -0.011 of validation R²"),
        ("mae", 200.0, 201.0, "Kept: -75 % bytes, +0.5 % validation MAE (at most 1.0 % may be lost)."),
        ("mae", 200.0, 203.0, "Dropped as less accurate: -75 % bytes, +1.5 % validation MAE"),
        ("mae", 200.0, 150.0, "Kept: -75 % bytes, -25.0 % validation MAE"),
    ],
)
def test_what_is_lost_is_told_in_the_figure_of_the_task(
    metric: str, before: float, after: float, words: str
) -> None:
    fp32 = onnx_file(1000, before, metric=metric)
    (found,) = judge(fp32, {"static": onnx_file(250, after, metric=metric)}, 0.01)
    assert found.reason.startswith(words)
    assert found.kept == words.startswith("Kept")


def test_files_of_earlier_releases_are_of_accuracy() -> None:
    old = {"file": "model.onnx", "size_bytes": 1, "val_accuracy": 0.5, "latency": None}
    assert OnnxFile.model_validate(old) == OnnxFile(
        file="model.onnx", size_bytes=1, metric="accuracy", val=0.5, latency=None
    )


@pytest.mark.parametrize(
    ("dynamic", "static", "kept"),
    [
        (onnx_file(300, 0.9, (1.0, 1.0)), onnx_file(300, 0.9, (0.9, 0.9)), "static"),
        (onnx_file(300, 0.9, (0.8, 1.2)), onnx_file(300, 0.9, (0.95, 0.95)), "static"),  # 0.98 beside 0.95
        (onnx_file(250, 0.9, (1.0, 1.0)), onnx_file(300, 0.9, (0.9, 0.9)), "dynamic"),  # 0.25 beside 0.27
        (onnx_file(250, 0.9), onnx_file(300, 0.9), "dynamic"),
        (onnx_file(900, 0.9), onnx_file(200, 0.8), "dynamic"),
        (onnx_file(990, 0.9), onnx_file(200, 0.8), None),
    ],
)
def test_the_better_of_two_is_kept(dynamic: OnnxFile, static: OnnxFile, kept: str | None) -> None:
    found = judge(onnx_file(1000, 0.9, (1.0, 1.0)), {"dynamic": dynamic, "static": static}, 0.01)
    assert [file.scheme for file in found if file.kept] == ([kept] if kept else [])
    if dynamic.val == static.val:
        (other,) = (file for file in found if not file.kept)
        assert other.reason.startswith(f"Dropped for {kept}: ")


def test_a_bundle_with_the_file_predicts_by_it(tmp_path: Path) -> None:
    spec = MLPSpec(width=128)
    model = warmed(spec, INPUTS, 3)
    spec_of_trial = ExportSpec(latency_s=0.0, max_accuracy_loss=1.0)
    summary = write_bundle(
        tmp_path / "student",
        model=model,
        architecture=spec,
        recipe={
            "kind": "vector", "version": "vector-1", "input_shape": [24], "input_dtype": "float32",
            "clip": 1e6, "mean": [0.0] * 24, "std": [1.0] * 24,
        },
        classes=["a", "b", "c"],
        card=make_card("vector"),
        parity_inputs=INPUTS,
        trial=trial_by_accuracy(spec_of_trial, INPUTS, np.zeros(96, np.int64)),
    )  # fmt: skip
    assert summary.export is not None
    kept = summary.export.kept
    assert kept is not None
    assert summary.files["model.int8.onnx"].bytes == kept.size_bytes
    card = (tmp_path / "student" / "README.md").read_text()
    assert "| `model.int8.onnx` |" in card
    assert all(f"- {file.scheme}: {file.reason}" in card for file in summary.export.int8)
    assert '"onnx-int8"' in card
    values = list(INPUTS[:5])
    plain, by_int8 = (load_student(tmp_path / "student", backend) for backend in ("onnx", "onnx-int8"))
    close = [list(one.probabilities.values()) for one in plain.predict_many(values)]
    found = [list(one.probabilities.values()) for one in by_int8.predict_many(values)]
    np.testing.assert_allclose(found, close, atol=0.1)
    assert found != close


def test_a_bundle_without_the_file_says_so(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", "vector", onnx=False)
    with pytest.raises(ModelFileError) as caught:
        load_student(tmp_path / "b", "onnx-int8")
    assert "model.int8.onnx" in str(caught.value)
