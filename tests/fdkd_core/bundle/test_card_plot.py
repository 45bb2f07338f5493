from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from bundle_samples import SPECS, result

from fdkd_core.bundle.card_plot import draw
from fdkd_core.spec.export_result import BatchLatency, ExportReport, Int8File, Latency, OnnxFile

SVG = "{http://www.w3.org/2000/svg}"


def latency(median_ms: float) -> Latency:
    batch = BatchLatency(batch_size=1, median_ms=median_ms, p95_ms=median_ms, repeats=9)
    return Latency(runtime="torch", threads=1, batches=[batch])


def model(accuracy: float, median_ms: float | None = None) -> Any:
    found = result("audio", SPECS["audio"], accuracy)
    return found.model_copy(update={"latency": None if median_ms is None else latency(median_ms)})


def read(svg: str) -> tuple[list[str], list[tuple[float, float]]]:
    """All texts, and left end and length of each bar."""
    root = ElementTree.fromstring(svg)
    bars = root.findall(f"{SVG}rect")[1:]  # the first is the paper
    texts = [text.text or "" for text in root.findall(f"{SVG}text")]
    return texts, [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in bars]


def test_bars_are_as_long_as_the_figures() -> None:
    svg = draw([("teacher", model(0.75)), ("student", model(0.5))], None)
    texts, bars = read(svg)
    assert bars == [(120.0, 150.0), (120.0, 100.0)], "of 200 for everything right"
    # Two standard errors of a share of 200 samples: 2 sqrt(0.25 / 200) = 7.07 %.
    assert "50.0 ±7.1" in texts
    assert texts[:2] == ["teacher", "student"]
    assert not any("ms" in text for text in texts)
    assert f'd="M{120 + 2 * 42.93:.1f} ' in svg
    assert draw([("teacher", model(0.75)), ("student", model(0.5))], None) == svg


def test_times_have_a_panel_of_their_own() -> None:
    fp32 = OnnxFile(file="model.onnx", size_bytes=1, metric="accuracy", val=0.5, latency=latency(0.5))
    fields = dict(fp32) | {"file": "model.int8.onnx", "scheme": "static", "reason": ""}
    export = ExportReport(fp32=fp32, int8=[Int8File(**fields, kept=True)], int8_failures=[])
    models = [("teacher", model(0.75, 4.0)), ("student", model(0.5, 1.0)), ("control", model(0.5))]
    texts, bars = read(draw(models, export))
    assert bars[3:] == [(430.0, 200.0), (430.0, 50.0), (430.0, 25.0), (430.0, 25.0)]
    assert texts[:5] == ["teacher", "student", "control", "model.onnx", "model.int8.onnx"]
    assert {"4", "1", "0.5"} <= set(texts)
    dropped = export.model_copy(update={"int8": [Int8File(**fields, kept=False)]})
    assert "model.int8.onnx" not in read(draw(models, dropped))[0]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_the_ends_of_the_scale(accuracy: float) -> None:
    texts, bars = read(draw([("student", model(accuracy, 0.0))], None))
    assert bars == [(120.0, 200.0 * accuracy), (430.0, 0.0)]
    assert f"{100 * accuracy:.1f} ±0.0" in texts


def test_names_stay_names() -> None:
    svg = draw([("<b>&", model(0.5)), ("a" * 99, model(0.5))], None)
    texts, _ = read(svg)
    assert texts[0] == "<b>&"
    assert texts[1] == "a" * 15 + "…"
