"""What the sections are shown where networks answer by pixel: pooled features, or places of maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdkd_core.data.batches import clean_inputs
from fdkd_core.diagnosis.headroom import View
from fdkd_core.diagnosis.looks import Looks, Measured
from fdkd_core.diagnosis.networks import outputs_of
from fdkd_core.diagnosis.places import Places, Size, as_rows, at_places, draw_places, surroundings
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import MAX_PROBED, Rows
from fdkd_core.diagnosis.tasks import DiagnosedSegmentation
from fdkd_core.diagnosis.views import Components
from fdkd_core.losses.pixels import averaged_to
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec.dense_cost import ROWS_ASKED
from fdkd_core.spec.findings import Part
from fdkd_core.spec.measures import MetricName

MOST_OF_A_PICTURE = 16
"""Places that a probe learns from: neighbours say nearly the same."""

MapsOf = Callable[[Rows], Tensor]
"""From a few rows to maps [B, D, h, w]."""


class DenseLooks(Looks):
    """Rows are pictures; alignment is asked of whole ones, similarity and probes of places.

    Methods compare each place of the maps as a row of its own, the student's brought to the size of the
    teacher's, and so does this: similarity is measured at one place of each picture, since places of one
    picture are alike, and without the mean over pictures of what stands at a place, since that is shared by
    any two: sky is above. Maps are made anew for a few rows at a time and never kept.
    """

    def outputs(self, part: Part, rows: Rows) -> ModelOutput:
        """Means over the places of each picture."""
        found = [
            [maps.float().mean(dim=(2, 3)) for maps in self._maps(part, chunk)] for chunk in _chunks(rows)
        ]
        return ModelOutput(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def measured(self) -> Measured:
        """Teacher and student at one place of each picture."""
        size = self._size("teacher")
        places = self._draw(self.sample.measured, size, 1, "places")
        learned = self._draw(self.sample.fit, size, 1, "places to fit")
        around = self._around("student", size)
        usual = _mean_map(self.sample.measured, around)
        seen = _gathered(learned, around) - usual[learned.at]
        return Measured(
            self._unusual(places, lambda rows: self._maps("teacher", rows).features),
            Components(seen).of(_gathered(places, around) - usual[places.at]),
            self._unusual(
                places, lambda rows: averaged_to(self._maps("student", rows).features.float(), size)
            ),
            places.labels,
            places=len(places.rows),
        )

    def _unusual(self, places: Places, maps_of: MapsOf) -> Matrix:
        """What stands at places, less what usually stands there."""
        return _gathered(places, maps_of) - _mean_map(self.sample.measured, maps_of)[places.at]

    def fitted(self) -> tuple[ModelOutput, NDArray[Any]]:
        """The teacher at one place of each picture that is learned from, and the classes there."""
        places = self._draw(self.sample.fit, self._size("teacher"), 1, "places to fit")
        parts = (
            _gathered(places, lambda rows, index=index: self._maps("teacher", rows)[index])  # type: ignore[misc]
            for index in range(2)
        )
        return ModelOutput(*(torch.from_numpy(part).float() for part in parts)), places.labels

    def probed(
        self, part: Part, fitted: Rows, rng: np.random.Generator, metric: MetricName
    ) -> Iterator[tuple[View, NDArray[Any]]]:
        """What probes of single places answer about all places of the validation rows."""
        size = self._size(part)
        per_row = max(1, min(MOST_OF_A_PICTURE, MAX_PROBED // len(fitted)))
        places = draw_places(fitted, self.job.data.labels, size, per_row, rng)
        views: dict[View, MapsOf] = {
            "features": lambda rows: self._maps(part, rows).features,
            "inputs": self._around(part, size),
        }
        for view, maps_of in views.items():
            yield view, self._probe(places, maps_of, size, rng, metric)

    def _probe(
        self, places: Places, maps_of: MapsOf, size: Size, rng: np.random.Generator, metric: MetricName
    ) -> NDArray[Any]:
        assert isinstance(self.task, DiagnosedSegmentation)
        probe = self.task.place_probe(_gathered(places, maps_of), places.labels, rng, metric)
        answers = []
        for chunk in _chunks(self.sample.validated):
            scores = probe.scores(as_rows(maps_of(chunk)))
            maps = scores.reshape(len(chunk), *size, -1).transpose(0, 3, 1, 2).astype(np.float32)
            answers.append(self.task.task.answers(maps, self.job.data.labels[chunk]))
        return np.concatenate(answers)

    def _draw(self, rows: Rows, size: Size, per_row: int, purpose: str) -> Places:
        rng = np.random.default_rng((self.seed, *purpose.encode()))
        return draw_places(rows, self.job.data.labels, size, per_row, rng)

    def _size(self, part: Part) -> Size:
        height, width = self._maps(part, self.sample.fit[:1]).features.shape[2:]
        return int(height), int(width)

    def _maps(self, part: Part, rows: Rows) -> ModelOutput:
        return outputs_of(self.networks[part], self.job.data, rows, self.job.device)

    def _around(self, part: Part, size: Size) -> MapsOf:
        modality = self._modalities[part]
        return lambda rows: surroundings(torch.from_numpy(clean_inputs(modality, rows)), size)


def _chunks(rows: Rows) -> list[Rows]:
    return np.array_split(rows, max(1, -(-len(rows) // ROWS_ASKED)))


def _gathered(places: Places, maps_of: MapsOf) -> Matrix:
    """What maps hold at places, [N, D]; the rows of places ascend."""
    found = []
    for rows in _chunks(np.unique(places.rows)):
        of_rows = np.isin(places.rows, rows)
        picture = np.searchsorted(rows, places.rows[of_rows])
        found.append(at_places(maps_of(rows), picture, places.at[of_rows]))
    return np.concatenate(found)


def _mean_map(rows: Rows, maps_of: MapsOf) -> Matrix:
    """Mean over pictures of what stands at each place, [h * w, D]."""
    total = sum(maps_of(chunk).double().sum(dim=0) for chunk in _chunks(rows))
    assert isinstance(total, Tensor)
    found: Matrix = (total / len(rows)).flatten(1).T.contiguous().numpy()
    return found
