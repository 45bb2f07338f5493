from __future__ import annotations

from typing import Any

import pytest
from bundle_samples import SPECS, make_card, result

from fdkd_core.bundle.card import ModelCard, escape, render_card
from fdkd_core.bundle.config import BundleConfig, OnnxRecord
from fdkd_core.spec import FD_CMKD_WITH_LOGITS
from fdkd_core.spec.export_result import BatchLatency, ExportReport, Int8File, Latency, OnnxFile
from fdkd_core.spec.result import GateResult, Uplift

CONFIG = BundleConfig(
    architecture=SPECS["audio"], input_shape=(1, 40, 48), input_dtype="float32", num_classes=3
)
ONNX = OnnxRecord(
    opset=20, max_abs_difference=2e-6, relative_difference=3e-7, equal_predictions=199, num_samples=200
)


def render(card: ModelCard, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "role": "student",
        "folder": "student",
        "config": CONFIG,
        "kind": "audio",
        "classes": ["zero", "one", "two"],
        "onnx": ONNX,
    }
    return render_card(card, **(fields | changes))


def uplift(test: float, error: float = 0.01) -> Uplift:
    return Uplift(
        val_accuracy=test,
        test_accuracy=test,
        test_macro_f1=test,
        teacher_gap_closed=None,
        standard_error=error,
    )


def test_a_control_with_a_fake_teacher_says_so() -> None:
    card = make_card()
    assert "as a control" not in render(card)
    fake = card.model_copy(update={"spec": {**card.spec, "teacher_view": "shuffled_pairs"}})
    assert "with fd\\_cmkd, as a control: with shuffled pairs." in render(fake)


def test_the_control_itself_says_what_gates_it_did_not_pass() -> None:
    sentence = "Test accuracy is +0.0 points; the job asks for at least +2.0 points: not passed."
    gate = GateResult(
        metric="accuracy", passed=False, value=0.0, standard_error=0.0, threshold=0.02, significant=False,
        on_fail="warn", sentence=sentence,
    )  # fmt: skip
    card = make_card()
    spec = {**card.spec, "method": {"name": "none"}}
    text = render(card.model_copy(update={"spec": spec, "uplift": uplift(0.0, 0.0), "gates": [gate]}))
    assert "this is the control itself" in text
    assert f"- {escape(sentence)}" in text


def test_it_says_what_matters() -> None:
    text = render(make_card())
    for words in (
        "# image-teaches-audio",
        "Distilled from a teacher of the modality image with fd\\_cmkd",
        "| student | m | 12,345 | 90.0 % |",
        "| control | m | 12,345 | 86.0 % |",
        "4.0 points better than the same student trained without a teacher",
        "differences under 2.4 points may be noise",
        "closed 44 %",
        'fdkd_core.load_student("student")',
        "onnxruntime.InferenceSession",
        "(1, 1, 40, 48), np.float32",
        "same prediction on 199",
        "(train 1000, val 200, test 200 rows)",
        "Of the data: 3 duplicates",
        "ab" * 32,
        "cd" * 32,
        "Seed: 7",
        "torch 2.13.0",
        "sgd (lr 0.05)",
    ):
        assert words in text, words
    assert "sha256 of the teacher" not in text
    assert "more than rounding" not in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.05, "5.0 points worse than"),
        (0.0, "exactly as good as"),
        (0.015, "This difference is within that noise"),
    ],
)
def test_uplift_in_plain_words(value: float, words: str) -> None:
    assert words in render(make_card(uplift=uplift(value)))


def test_models_that_are_right_on_the_same_samples() -> None:
    text = render(make_card(uplift=uplift(0.0, error=0.0)))
    assert "exactly as good as" in text
    assert "another would move both models" in text
    assert "under 0.0 points" not in text
    assert "is unknown" not in text
    assert "is unknown, since every test row says the same" in render(
        make_card(uplift=uplift(1.0, error=0.0))
    )


def test_a_teacher_that_was_recorded_is_no_modality_and_has_no_size() -> None:
    card = make_card()
    teacher = {"modality": "pooled", "outputs_from": {"features": "pooled", "logits": None}}
    unknown = card.results["teacher"].model_copy(update={"parameters": 0})
    told = card.model_copy(
        update={"spec": {**card.spec, "teacher": teacher}, "results": {**card.results, "teacher": unknown}}
    )
    text = render(told)
    assert "Distilled from a teacher recorded in pooled with fd\\_cmkd." in text
    assert "| teacher | image | - |" in text


def test_jobs_without_control_or_teacher() -> None:
    card = make_card(uplift=None, results={"student": result("m", SPECS["audio"], 0.9)})
    assert "Not known: no control was trained" in render(card)
    assert "The control is" not in render(card)
    train = make_card(
        uplift=None,
        spec={"kind": "train", "name": "n"},
        results={"student": result("m", SPECS["audio"], 0.9)},
    )
    assert "without a teacher" in render(train)
    assert "Did the teacher help" not in render(train, onnx=None)
    assert "onnx" not in render(train, onnx=None)


def latency(*times: float) -> Latency:
    batches = [
        BatchLatency(batch_size=size, median_ms=time, p95_ms=2 * time, repeats=9)
        for size, time in zip((1, 32), times, strict=False)
    ]
    return Latency(runtime="torch", threads=1, batches=batches)


def test_what_the_models_cost() -> None:
    card = make_card()
    assert "Size and speed" not in render(card)
    results = {
        role: found.model_copy(update={"latency": latency(0.25)}) for role, found in card.results.items()
    }
    results["student"] = results["student"].model_copy(update={"latency": latency(0.125, 1.5)})
    fp32 = OnnxFile(
        file="model.onnx", size_bytes=3 << 20, metric="accuracy", val=0.9, latency=latency(0.1, 1.0)
    )
    fields = fp32.model_dump() | {"file": "model.int8.onnx", "size_bytes": 1 << 19, "scheme": "static"}
    int8 = Int8File.model_validate({**fields, "kept": False, "reason": "Dropped as slower: so much."})
    report = ExportReport(fp32=fp32, int8=[int8], int8_failures=[])
    text = render(make_card(results=results), export=report)
    assert "| student | 50.0 kB | 67,890 | 0.125 ms (0.25) | 1.5 ms (3) | torch, 1 thread |" in text
    assert "| teacher | 50.0 kB | 67,890 | 0.25 ms (0.5) | too slow | torch, 1 thread |" in text
    assert "| `model.onnx` | 3.1 MB |  | 0.1 ms (0.2) | 1 ms (2) | torch, 1 thread |" in text
    assert "- static: Dropped as slower: so much." in text
    assert "model.int8.onnx" not in text
    assert "onnx-int8" not in text
    kept = render(
        make_card(), export=report.model_copy(update={"int8": [int8.model_copy(update={"kept": True})]})
    )
    assert "| `model.int8.onnx` | 524 kB |" in kept
    assert '"onnx-int8"' in kept


def test_disagreement_is_not_hidden() -> None:
    bad = ONNX.model_copy(update={"relative_difference": 0.02})
    assert "more than rounding explains" in render(make_card(), onnx=bad)


def test_a_combination_is_named_by_its_parts() -> None:
    spec = make_card().spec | {"method": FD_CMKD_WITH_LOGITS.model_dump(mode="json")}
    text = render(make_card(spec=spec))
    assert "with fd\\_cmkd + logit\\_kd" in text
    assert "- Method: fd\\_cmkd (" in text
    assert "- Method: logit\\_kd (" in text


EVIL = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](http://e.org/a.png)",
    "a | b",
    "`code`\n\n# Heading",
    "www.evil.org",
    "https://evil.org",
    "me@evil.org",
    "*bold* _it_ ~no~ $x$",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("evil", EVIL)
def test_user_texts_stay_texts(evil: str) -> None:
    shown = escape(evil)
    assert "\n" not in shown
    assert "<" not in shown
    assert ">" not in shown
    card = make_card()
    hostile = make_card(
        spec=card.spec | {"name": evil, "dataset": evil, "method": {"name": "x", evil: evil}},
        data_report={"splits": {evil: {"rows": 1}}, "warnings": [evil]},
        versions={evil: evil},
    )
    text = render(hostile, classes=[evil, "b", "c"], folder='x"); import os #```', kind="audio")
    for raw in EVIL:
        if raw != "&lt;b&gt;":
            assert raw not in text
    # The same lines as ever: no heading, list item, table row or code fence was added.
    plain = render(card, classes=["a", "b", "c"])
    assert len(text.splitlines()) == len(plain.splitlines())
    assert text.count("\n```") == plain.count("\n```")


def test_long_texts_are_cut() -> None:
    assert len(escape("a" * 10_000)) == 300
