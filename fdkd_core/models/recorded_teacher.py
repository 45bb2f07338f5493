"""A frozen teacher of which there are only its outputs, in columns of the dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.table import ModalityData, PairedDataset
from fdkd_core.errors import IncompatibleError, Problem, quote
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.spec import OutputColumnsSpec, SegmentationSpec
from fdkd_core.spec.tasks import facts_of

_ROWS_AT_ONCE = 64
_SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may lie from 1: half precision and three decimals stay within."""


class RecordedTeacher(Backbone):
    """Gives rows their recorded features and logits; as a network it cannot be run.

    The logits of a regression are answers in the unit of the data. Of a segmentation, outputs are maps, which
    stay in the half precision in which they were decoded.

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
        self.is_dense = isinstance(data.task, SegmentationSpec)
        self.input_dtype = torch.float32
        self._scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        form = facts_of(data.task).label_form
        if self._logits is not None and form in _PROBABILITIES:
            looks_so, look, remedy = _PROBABILITIES[form]
            rows = data.splits["train"]
            rows = rows[self._logits.has(rows)]
            parts = (
                self._logits.inputs_of(rows[start : start + _ROWS_AT_ONCE]).astype(np.float32)
                for start in range(0, len(rows), _ROWS_AT_ONCE)
            )
            if all(looks_so(part) for part in parts):  # of logits, the first rows tell
                detail = (
                    f"the rows of {quote(str(spec.logits))} {look}: these are probabilities, and logits are "
                    f"needed; {remedy} will do"
                )
                raise IncompatibleError(Problem("incompatible", detail, f"{pointer}/outputs_from/logits"))

    def set_scale(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """From now on logits have this mean taken off and are divided by this deviation."""
        self._scale = mean, std

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which rows all its outputs were recorded."""
        found = np.ones(len(rows), dtype=bool)
        for column in (self._features, self._logits):
            if column is not None:
                found &= column.has(rows)
        return found

    def outputs(self, rows: NDArray[np.int64]) -> ModelOutput:
        """Features [N, D] and logits [N, C] of rows that have them; D or C is 0 where there is no column.

        Of a segmentation, maps in fp16.
        """
        features, logits = (_recorded(column, rows) for column in (self._features, self._logits))
        if self.is_dense:
            # What is not there has the places of what is: all that is done to maps can be done to it.
            places = (logits if self._features is None else features).shape[2:]
            parts = (
                part if part.ndim == 4 else np.empty((len(rows), 0, *places)) for part in (features, logits)
            )
            return ModelOutput(*(torch.from_numpy(part.astype(np.float16)) for part in parts))
        if self._scale is not None and self._logits is not None:
            logits = (logits - self._scale[0]) / self._scale[1]
        return ModelOutput(*(torch.from_numpy(part.astype(np.float32)) for part in (features, logits)))

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Cannot be: there is no network.

        Raises:
            RuntimeError: Always; whoever calls this has overlooked `outputs`.
        """
        raise RuntimeError("recorded outputs are looked up by row")


def _width(column: ModalityData | None) -> int:
    return 0 if column is None else int(column.recipe["input_shape"][0])


def _recorded(column: ModalityData | None, rows: NDArray[np.int64]) -> NDArray[Any]:
    if column is None:
        return np.empty((len(rows), 0))
    # As they were recorded: `to_input` would normalise them as a network's inputs are.
    return np.array(column.inputs_of(rows))


def _are_shares(values: NDArray[Any]) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) < _SUM_TOLERANCE).all())


def _are_within_0_and_1(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


_PROBABILITIES: dict[str, tuple[Callable[[NDArray[Any]], bool], str, str]] = {
    "class": (_are_shares, "are not negative and sum to 1", "the logarithm of probabilities"),
    "mask": (
        _are_shares,
        "are not negative and sum to 1 at every place",
        "the logarithm of probabilities",
    ),
    "classes": (_are_within_0_and_1, "lie between 0 and 1", "log(p / (1 - p))"),
}
"""By form of the labels: how probabilities give themselves away, and what to store instead."""
