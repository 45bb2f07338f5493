"""Bundles of every kind, small and quick to make."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdkd_core.bundle import ModelCard, write_bundle
from fdkd_core.bundle.write import BundleSummary
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RawValue
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.models import Backbone, build_model
from fdkd_core.spec.architectures import (
    Conv1dSpec,
    Conv2dSpec,
    MLPSpec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.result import ClassificationMetrics, ModelResult, Uplift

SPECS: dict[str, Any] = {
    "image": Conv2dSpec(width=8, depth=2),
    "depth": Conv2dSpec(width=4, depth=2),
    "audio": Conv2dSpec(width=4, depth=3, dropout=0.2),
    "series": Conv1dSpec(width=4),
    "vector": MLPSpec(width=16, dropout=0.3),
    "text": TextTransformerSpec(width=16, heads=2, depth=1),
    "map": Conv2dSpec(width=4, depth=2),
}
_QUICK = ("image", "audio", "vector")
EVERY_KIND = [kind if kind in _QUICK else pytest.param(kind, marks=pytest.mark.long) for kind in SPECS]
"""For tests that take seconds for each kind: a picture, a sound and a vector stand for the others."""
WORDS = [
    "signal",
    "noise",
    "band",
    "teacher",
    "student",
    "running",
    "runs,",
    "good!",
    "café",
    "naïve",
    "12.5",
]


def wav(rng: np.random.Generator, rate_hz: int = 8000, seconds: float = 0.4) -> bytes:
    count = int(rate_hz * seconds)
    times = np.arange(count) / rate_hz
    tone = 0.4 * np.sin(2 * np.pi * rng.uniform(200, 2000) * times) + 0.05 * rng.standard_normal(count)
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((tone.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return target.getvalue()


def raw_values(kind: str, count: int = 12) -> list[RawValue]:
    rng = np.random.default_rng(0)
    make: dict[str, Callable[[], RawValue]] = {
        "image": lambda: rng.integers(0, 256, (20, 24, 3), dtype=np.uint8),
        "depth": lambda: rng.integers(0, 5, (16, 16)).astype(np.float32),
        "audio": lambda: wav(rng, seconds=rng.uniform(0.2, 0.5)),
        "series": lambda: (3 + 2 * rng.standard_normal((50, 3))).astype(np.float32),
        "vector": lambda: rng.standard_normal(10),
        "map": lambda: 1 + 2 * rng.standard_normal((3, 12, 8)),
        "text": lambda: " ".join(rng.choice(WORDS, rng.integers(3, 30)).tolist()),
    }
    return [make[kind]() for _ in range(count)]


def fitted(kind: KindName) -> tuple[Preprocessor, list[RawValue]]:
    values = raw_values(kind)
    implementation = KINDS[kind]
    recipe = implementation.resolve({}, [implementation.inspect(value) for value in values])
    decoded = np.stack([implementation.decode(value, recipe) for value in values])
    return Preprocessor(implementation.fit(decoded, recipe)), values


def warmed(spec: Any, inputs: np.ndarray[Any, Any], classes: int, vocab: int | None = None) -> Backbone:
    """A network whose batch norms have seen data: their start, mean 0 and variance 1, hides export errors."""
    torch.manual_seed(0)
    model = build_model(spec, inputs.shape[1:], classes, vocab)
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(inputs))
    return model


def result(modality: str, spec: Any, accuracy: float) -> ModelResult:
    split = ClassificationMetrics(accuracy=accuracy, macro_f1=accuracy - 0.01, loss=0.5, num_samples=200)
    return ModelResult(
        modality=modality,
        architecture=spec.model_dump(),
        parameters=12_345,
        multiply_adds=67_890,
        size_bytes=50_000,
        val=split,
        test=split,
        seconds=12.0,
        epochs=20,
        best_epoch=17,
        weights_sha256="0" * 64,
    )


def make_card(kind: str = "audio", **changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "spec": {
            "kind": "distill",
            "name": "image-teaches-audio",
            "dataset": "digits",
            "task": {"kind": "classification"},
            "method": {"name": "fd_cmkd", "cutoff": 0.5},
            "training": {"epochs": 20, "seed": 7, "optimizer": {"name": "sgd", "lr": 0.05}},
        },
        "results": {
            "teacher": result("image", SPECS["image"], 0.95),
            "student": result("m", SPECS[kind], 0.90),
            "control": result("m", SPECS[kind], 0.86),
        },
        "uplift": Uplift(
            val_accuracy=0.03,
            test_accuracy=0.04,
            test_macro_f1=0.035,
            teacher_gap_closed=0.44,
            standard_error=0.012,
        ),
        "data_report": {
            "splits": {"train": {"rows": 1000}, "val": {"rows": 200}, "test": {"rows": 200}},
            "warnings": ["3 duplicates"],
        },
        "identity": {"spec": "ab" * 32, "data": "cd" * 32, "teacher": None},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    return ModelCard(**(fields | changes))


def make_bundle(folder: Path, kind: KindName, *, onnx: bool = True) -> tuple[BundleSummary, list[RawValue]]:
    preprocessor, values = fitted(kind)
    inputs = preprocessor.prepare(values)
    classes = ["zero", "one", "two <b>"]
    model = warmed(SPECS[kind], inputs, len(classes), preprocessor.recipe.get("vocab_size"))
    summary = write_bundle(
        folder,
        model=model,
        architecture=SPECS[kind],
        recipe=preprocessor.to_json(),
        classes=classes,
        card=make_card(kind),
        parity_inputs=inputs if onnx else None,
    )
    return summary, values


Bundles = Callable[[KindName], tuple[BundleSummary, list[RawValue]]]
