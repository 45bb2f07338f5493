"""Running a model over a split."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import ModalityData
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.recorded_teacher import RecordedTeacher

EVALUATION_BATCH = 256
"""Rows at a time; constant, because sums in another order round differently."""


@torch.no_grad()
def predict_rows(
    model: Backbone, modality: ModalityData, rows: NDArray[np.int64], device: torch.device
) -> ModelOutput:
    """Features [N, D] and logits [N, C] of some rows, in eval mode and fp32, on the CPU.

    The model is left in the mode it was in. Of a teacher that was recorded, they are looked up.
    """
    if isinstance(model, RecordedTeacher):
        return model.outputs(rows)
    was_training = model.training
    model.eval()
    try:
        outputs = [
            model(torch.from_numpy(clean_inputs(modality, chunk)).to(device))
            for chunk in np.array_split(rows, max(1, -(-len(rows) // EVALUATION_BATCH)))
        ]
    finally:
        model.train(was_training)
    return ModelOutput(
        features=torch.cat([output.features for output in outputs]).float().cpu(),
        logits=torch.cat([output.logits for output in outputs]).float().cpu(),
    )
