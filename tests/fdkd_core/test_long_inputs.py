"""Long inputs go through networks in fewer rows at a time, wherever nothing is learnt from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fdkd_core.data.table import ModalityData
from fdkd_core.latency import Timed, measure
from fdkd_core.long_inputs import LONG_STEPS, rows_at_a_time
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec.input_axes import MAX_STEPS
from fdkd_core.training.evaluation import predict_rows


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
    recipe: dict[str, Any] = {
        "kind": "series", "version": "series-1", "input_shape": [1, 80_000], "input_dtype": "float32",
        "layout": "channels_time", "source_channels": 1, "channels": [0], "crop": "start",
        "pad": "end_with_mean", "clip": 100.0, "mean": [0.0], "std": [1.0],
    }  # fmt: skip
    data = ModalityData(recipe, values, np.arange(40))
    model: Any = Recorder()
    found = predict_rows(model, data, np.arange(40), torch.device("cpu"))
    assert model.seen == [20, 20]
    assert found.logits[:, 0].tolist() == list(range(40))


def test_batches_that_are_more_than_that_are_not_timed() -> None:
    seen: list[int] = []
    timed = Timed(lambda batch: seen.append(len(batch)), np.zeros((2, 1, MAX_STEPS), np.float32))
    found = measure({"a": timed}, budget_s=0.5)
    assert set(seen) == {1} == {batch.batch_size for batch in found["a"]}
