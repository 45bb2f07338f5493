"""Running a model over a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import ModalityData, PairedDataset, Split
from fdkd_core.long_inputs import rows_at_a_time
from fdkd_core.models.base import Backbone, ModelOutput, served_logits
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.spec.dense_cost import ROWS_ASKED, SCORES_AT_ONCE
from fdkd_core.spec.figures import SplitMetrics
from fdkd_core.tasks import task_of
from fdkd_core.tasks.base import Task

EVALUATION_BATCH = 256
"""Rows at a time, fewer of long inputs; constant, because sums in another order round differently."""
DENSE_EVALUATION_BATCH = ROWS_ASKED
"""The same for networks that answer by pixel, whose maps are larger."""
_LARGEST_HALF = float(torch.finfo(torch.float16).max)


def refuse_infinite_weights(model: Backbone) -> None:
    """Raises FloatingPointError unless all weights and running statistics are finite.

    Answers may be where these are not: a channel whose variance is infinite is a constant.
    """
    tensors = (tensor for tensor in model.state_dict().values() if tensor.is_floating_point())
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise FloatingPointError("the weights of a model are not finite")


@torch.no_grad()
def predict_rows(
    model: Backbone, modality: ModalityData, rows: NDArray[np.int64], device: torch.device
) -> ModelOutput:
    """Features [N, D] and logits [N, C] of some rows, in eval mode and fp32, on the CPU.

    Maps, of networks that answer by pixel, are kept in fp16: they are many, and only ever compared with. The
    model is left in the mode it was in. Of a teacher that was recorded, outputs are looked up.
    """
    if isinstance(model, RecordedTeacher):
        return model.outputs(rows)
    outputs = [output for _, _, output in _forward(model, modality, rows, device)]
    if model.is_dense:
        outputs = [ModelOutput(*map(_halved, output)) for output in outputs]
        return ModelOutput(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))
    return ModelOutput(
        features=torch.cat([output.features for output in outputs]).float().cpu(),
        logits=torch.cat([output.logits for output in outputs]).float().cpu(),
    )


@torch.no_grad()
def answer_rows(
    model: Backbone,
    modality: ModalityData,
    rows: NDArray[np.int64],
    labels: NDArray[Any],
    task: Task,
    device: torch.device,
    *,
    as_served: bool = True,
) -> NDArray[Any]:
    """What a task keeps of a model's answers to some rows (`Task.answers`).

    Args:
        model: As for `predict_rows`.
        modality: What it sees.
        rows: Of the dataset.
        labels: Of the whole dataset.
        task: What it answers.
        device: Where it runs.
        as_served: Whether maps go to the masks by way of the input's size, at which bundles hand them out.
            What comes from elsewhere was made to be brought to the masks at once.
    """
    if isinstance(model, RecordedTeacher):
        size = ROWS_ASKED if model.is_dense else len(rows)
        chunks = (rows[start : start + size] for start in range(0, len(rows), size))
        found = [task.answers(model.outputs(chunk).logits.numpy(), labels[chunk]) for chunk in chunks]
        return np.concatenate(found)
    kept = [
        task.answers(served.float().cpu().numpy(), labels[part])
        for chunk, inputs, output in _forward(model, modality, rows, device)
        for part, served in (
            _as_served(model, chunk, inputs, output) if as_served else [(chunk, output.logits)]
        )
    ]
    return np.concatenate(kept)


def evaluate_model(
    model: Backbone,
    data: PairedDataset,
    modality: str,
    split: Split,
    device: torch.device,
    *,
    as_served: bool = True,
) -> tuple[SplitMetrics, NDArray[Any]]:
    """Metrics of a model on one split, and its answers as the task keeps them. Args: as of `answer_rows`."""
    refuse_infinite_weights(model)
    rows, task = data.splits[split], task_of(data)
    seen = data.modalities[modality]
    answers = answer_rows(model, seen, rows, data.labels, task, device, as_served=as_served)
    return task.metrics(answers, data.labels[rows]), answers


def _as_served(
    model: Backbone, chunk: NDArray[np.int64], inputs: torch.Tensor, output: ModelOutput
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Logits, those of pixels for a few rows at a time: at the size of the inputs they may be far larger."""
    step = max(1, len(chunk))
    if model.is_dense:
        step = max(1, SCORES_AT_ONCE // (output.logits.shape[1] * inputs.shape[2:].numel()))
    for start in range(0, max(1, len(chunk)), step):
        part = slice(start, start + step)
        few = ModelOutput(output.features[part], output.logits[part])
        yield chunk[part], served_logits(model, inputs[part], few)


def _forward(
    model: Backbone, modality: ModalityData, rows: NDArray[np.int64], device: torch.device
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor, ModelOutput]]:
    was_training = model.training
    model.eval()
    size = DENSE_EVALUATION_BATCH if model.is_dense else EVALUATION_BATCH
    size = rows_at_a_time(size, modality.values.shape[1:])
    try:
        for chunk in np.array_split(rows, max(1, -(-len(rows) // size))):
            inputs = torch.from_numpy(clean_inputs(modality, chunk)).to(device)
            yield chunk, inputs, model(inputs)
    finally:
        model.train(was_training)


def _halved(maps: torch.Tensor) -> torch.Tensor:
    return maps.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).half().cpu()
