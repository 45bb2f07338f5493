"""Long inputs go through networks in fewer rows at a time, wherever nothing is learnt from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fdkd_core.bundle import export_trial, onnx_export
from fdkd_core.bundle.onnx_export import export_onnx, measure_parity
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.bundle.student import Student
from fdkd_core.data.table import ModalityData
from fdkd_core.latency import Timed, measure
from fdkd_core.long_inputs import LONG_STEPS, rows_at_a_time
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.models import build_model
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import Conv1dSpec
from fdkd_core.spec.input_axes import MAX_STEPS
from fdkd_core.spec.tasks import ClassificationSpec
from fdkd_core.training.evaluation import predict_rows

RECIPE: dict[str, Any] = {
    "kind": "series", "version": "series-1", "input_shape": [1, 80_000], "input_dtype": "float32",
    "layout": "channels_time", "source_channels": 1, "channels": [0], "crop": "start",
    "pad": "end_with_mean", "clip": 100.0, "mean": [0.0], "std": [1.0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ([1, LONG_STEPS], 256),
        ([1, LONG_STEPS + 1], 31),
        ([1, 80_000], 26),
        ([1, MAX_STEPS], 4),
        ([1, 1 << 30], 1),
        ([3, 1024, 1024], 256),
        ([LONG_STEPS + 1], 256),
    ],
)
def test_rows(shape: list[int], rows: int) -> None:
    assert rows_at_a_time(256, shape) == rows
    assert rows_at_a_time(2, shape) == min(2, rows)


class Recorder(nn.Module):
    """Remembers how many rows it was given."""

    is_dense = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, inputs: Tensor) -> ModelOutput:
        self.seen.append(len(inputs))
        return ModelOutput(inputs[:, 0, :2], inputs[:, 0, :3])


def test_evaluation_takes_as_many_as_fit() -> None:
    values = np.arange(40, dtype=np.float32)[:, None, None] * np.ones((1, 1, 80_000), np.float32)
    data = ModalityData(RECIPE, values, np.arange(40))
    model: Any = Recorder()
    found = predict_rows(model, data, np.arange(40), torch.device("cpu"))
    assert model.seen == [20, 20]
    assert found.logits[:, 0].tolist() == list(range(40))


def test_batches_that_are_more_than_that_are_not_timed() -> None:
    seen: list[int] = []
    timed = Timed(lambda batch: seen.append(len(batch)), np.zeros((2, 1, MAX_STEPS), np.float32))
    found = measure({"a": timed}, budget_s=0.5)
    assert set(seen) == {1} == {batch.batch_size for batch in found["a"]}


def test_neither_export_nor_its_figure_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Recording(OnnxSession):
        def __call__(self, inputs: Any) -> Any:
            seen.append(len(inputs))
            return super().__call__(inputs)

    torch.manual_seed(0)
    model = build_model(Conv1dSpec(width=2, depth=1), (1, 80_000), 3).eval()
    file = export_onnx(model, (1, 80_000))
    inputs = np.random.default_rng(0).standard_normal((30, 1, 80_000), np.float32)
    monkeypatch.setattr(onnx_export, "OnnxSession", Recording)
    record = measure_parity(model, file, inputs)
    assert (seen, record.num_samples, record.equal_predictions) == ([26, 4], 30, 30)
    seen.clear()
    answers: list[Any] = []
    trial: Any = SimpleNamespace(inputs=inputs, score=lambda batches: answers.extend(batches) or 0.5)
    assert export_trial._score(Recording(file), trial) == 0.5
    assert seen == [1, 26, 4]  # the first tells how large an answer is
    assert sum(map(len, answers)) == 30


def test_nor_does_a_student() -> None:
    """Of 30 series at once, as a caller may give them."""
    seen: list[int] = []
    bundle: Any = SimpleNamespace(
        config=SimpleNamespace(task=ClassificationSpec(), input_shape=(1, 80_000)), classes=["a", "b"],
        preprocessor=Preprocessor(RECIPE),
    )  # fmt: skip

    def forward(inputs: Any) -> Any:
        seen.append(len(inputs))
        return np.zeros((len(inputs), 2), np.float32)

    values = [np.zeros((1, 80_000), np.float32)] * 30
    assert len(Student(bundle, forward).predict_many(values)) == 30
    assert seen == [26, 4]
