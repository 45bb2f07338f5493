"""What the models of a run take to answer on one CPU thread, measured against each other."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import PairedDataset
from fdkd_core.latency import BATCH_SIZES, Timed, measure
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.phases import Trained
from fdkd_core.spec.export_result import Latency


def measure_models(models: Mapping[str, Trained], data: PairedDataset, budget_s: float) -> dict[str, Latency]:
    """Latencies by role, on validation rows and on the CPU, whatever trained them; empty without a budget.

    They are those of the networks alone, without decoding and preprocessing, in the layout in which a bundle
    is loaded. Models, generators and the number of threads are left as they were.

    Args:
        models: By role; recorded outputs are left out, and a modality that no validation row has.
        data: The dataset.
        budget_s: For each of them.
    """
    if budget_s <= 0:
        return {}
    candidates: dict[str, Timed] = {}
    for role, trained in models.items():
        if isinstance(trained.model, RecordedTeacher):
            continue  # nothing runs
        modality = data.modalities[trained.modality]
        rows = data.splits["val"]
        rows = rows[modality.has(rows)][: max(BATCH_SIZES)]
        if len(rows):
            candidates[role] = Timed(_on_the_cpu(trained), clean_inputs(modality, rows))
    with _one_thread(), torch.inference_mode():
        found = measure(candidates, budget_s=budget_s)
    return {role: Latency(batches=batches, **_runtime(models[role])) for role, batches in found.items()}


def _on_the_cpu(trained: Trained) -> Any:
    """A call of the network, given a batch of inputs."""
    model = trained.model
    if not isinstance(model, OnnxTeacher):
        model = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]

    def run(batch: NDArray[np.generic]) -> object:
        return model(torch.from_numpy(batch))

    return run


def _runtime(trained: Trained) -> dict[str, Any]:
    if isinstance(trained.model, OnnxTeacher):
        return {"runtime": "onnxruntime", "threads": trained.model.network.threads}
    return {"runtime": "torch", "threads": 1}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
