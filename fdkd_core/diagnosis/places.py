"""Places of maps, for networks that answer by pixel: which are looked at, and what is seen there.

Shape legend: B pictures, N places, C channels of a picture, D of a map, P numbers, H x W pixels of a mask,
h x w places of a map.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fdkd_core.diagnosis.sample import Rows
from fdkd_core.losses.pixels import averaged_to
from fdkd_core.spec.tasks import VOID

Size = tuple[int, int]
AROUND = 5
"""Places on a side that are seen of a picture around one: some context, in few enough numbers for a probe."""


class Places(NamedTuple):
    """Some places of the maps of some rows, in the order of the rows."""

    rows: Rows
    """The row of each."""
    at: NDArray[np.int64]
    """Its place in the flattened map."""
    labels: NDArray[np.int64]
    """The class of the pixel in its middle."""


def draw_places(
    rows: Rows, masks: NDArray[np.uint8], size: Size, per_row: int, rng: np.random.Generator
) -> Places:
    """Places at random among those that have a label: fewer of a row that has fewer.

    Args:
        rows: Row numbers.
        masks: Of the whole dataset, [rows, H, W].
        size: Of the map.
        per_row: Most places of a row.
        rng: Of the choice.
    """
    found_rows, found_at, found_labels = [], [], []
    for row in rows:
        labels = place_labels(masks[row], size).ravel()
        at = np.sort(rng.permutation(np.flatnonzero(labels != VOID))[:per_row])
        found_at.append(at)
        found_rows.append(np.full(len(at), row))
        found_labels.append(labels[at])
    parts = (found_rows, found_at, found_labels)
    return Places(*(np.concatenate(part).astype(np.int64) for part in parts))


def place_labels(mask_HW: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The label of the pixel in the middle of each place, [h, w]."""
    down, across = (
        ((np.arange(places) + 0.5) * pixels / places).astype(np.int64)
        for places, pixels in zip(size, mask_HW.shape, strict=True)
    )
    found: NDArray[np.uint8] = mask_HW[np.ix_(down, across)]
    return found


def surroundings(inputs_BCHW: Tensor, size: Size) -> Tensor:
    """What a picture shows around each place, [B, C * AROUND², h, w].

    It is averaged to the size of the map first; beyond its edge it goes on as at the edge.
    """
    small = averaged_to(inputs_BCHW.float(), size)
    edge = AROUND // 2
    padded = functional.pad(small, (edge, edge, edge, edge), mode="replicate")
    return functional.unfold(padded, AROUND).reshape(len(small), -1, *size)


def at_places(
    maps_BDhw: Tensor, picture_N: NDArray[np.int64], at_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What maps hold at some places, [N, D].

    Args:
        maps_BDhw: Of some pictures.
        picture_N: Which of them.
        at_N: Where in the flattened map.
    """
    flat_BPD = maps_BDhw.flatten(2).transpose(1, 2)
    found: NDArray[np.float64] = (
        flat_BPD[torch.from_numpy(picture_N), torch.from_numpy(at_N)].double().numpy()
    )
    return found


def as_rows(maps_BDhw: Tensor) -> NDArray[np.float64]:
    """All places of all pictures, [B * h * w, D]."""
    found: NDArray[np.float64] = maps_BDhw.permute(0, 2, 3, 1).flatten(0, 2).double().contiguous().numpy()
    return found
