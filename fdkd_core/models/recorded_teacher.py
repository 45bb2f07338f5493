"""A frozen teacher of which there are only its outputs, in columns of the dataset."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.table import ModalityData, PairedDataset
from fdkd_core.errors import IncompatibleError, Problem, quote
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.spec import OutputColumnsSpec

_SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may lie from 1: half precision and three decimals stay within."""


class RecordedTeacher(Backbone):
    """Gives rows their recorded features and logits; as a network it cannot be run.

    Args:
        spec: Which columns.
        data: The dataset, with these columns decoded.
        pointer: Where the teacher stands in the spec.

    Raises:
        IncompatibleError: What is called logits are probabilities.
    """

    def __init__(self, spec: OutputColumnsSpec, data: PairedDataset, pointer: str = "/teacher") -> None:
        super().__init__()
        self.spec = spec
        self._features, self._logits = (
            None if name is None else data.modalities[name] for name in (spec.features, spec.logits)
        )
        self.feature_dim = _width(self._features)
        self.num_logits = _width(self._logits)
        self.input_dtype = torch.float32
        if self._logits is not None and _are_probabilities(self._logits, data.splits["train"]):
            detail = (
                f"the rows of {quote(str(spec.logits))} are not negative and sum to 1: these are "
                "probabilities, and logits are needed; the logarithm of probabilities will do"
            )
            raise IncompatibleError(Problem("incompatible", detail, f"{pointer}/outputs_from/logits"))

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which rows all its outputs were recorded."""
        found = np.ones(len(rows), dtype=bool)
        for column in (self._features, self._logits):
            if column is not None:
                found &= column.has(rows)
        return found

    def outputs(self, rows: NDArray[np.int64]) -> ModelOutput:
        """Features [N, D] and logits [N, C] of rows that have them; D or C is 0 where there is no column."""
        return ModelOutput(*(_recorded(column, rows) for column in (self._features, self._logits)))

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Cannot be: there is no network.

        Raises:
            RuntimeError: Always; whoever calls this has overlooked `outputs`.
        """
        raise RuntimeError("recorded outputs are looked up by row")


def _width(column: ModalityData | None) -> int:
    return 0 if column is None else int(column.recipe["input_shape"][0])


def _recorded(column: ModalityData | None, rows: NDArray[np.int64]) -> Tensor:
    if column is None:
        return torch.empty((len(rows), 0))
    # As they were recorded: `to_input` would normalise them as a network's inputs are.
    return torch.from_numpy(np.array(column.inputs_of(rows), dtype=np.float32))


def _are_probabilities(column: ModalityData, rows: NDArray[np.int64]) -> bool:
    values = column.inputs_of(rows[column.has(rows)])
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) < _SUM_TOLERANCE).all())
