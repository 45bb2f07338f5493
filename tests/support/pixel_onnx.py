"""ONNX files that answer by pixel: one that tells the scenes' classes by their mean colours, untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx_samples import array, model_of
from scene_data import CLASSES, SIDE

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.modalities import KINDS
from fdkd_core.spec import SegmentationSpec


def colours_of(data: Path) -> tuple[PairedDataset, NDArray[np.float32]]:
    """The scenes, and their colours as a network for them sees those: [rows, 3, SIDE, SIDE]."""
    dataset = load_dataset(data, ["colour"], task=SegmentationSpec(), workers=1)
    column = dataset.modalities["colour"]
    inputs = KINDS["image"].to_input(column.inputs_of(np.arange(len(dataset.ids))), column.recipe)
    return dataset, inputs.astype(np.float32)


def mean_colours(data: Path) -> NDArray[np.float32]:
    """Of each class, over the training pixels: [classes, 3]."""
    dataset, inputs = colours_of(data)
    rows = dataset.splits["train"]
    pixels, masks = inputs[rows].transpose(0, 2, 3, 1), dataset.labels[rows]
    return np.stack([pixels[masks == index].mean(axis=0) for index in range(len(CLASSES))])


def pixel_teacher(
    colours: NDArray[np.floating[Any]],
    *,
    logits: str = "logits",
    features: str | None = "features",
    scale: int = 1,
    batch: Any = "batch",
) -> onnx.ModelProto:
    """Nearest mean colour of the blurred picture: logits at its size times `scale`, features at half of it.

    Args:
        colours: [classes, 3].
        logits: Name of the output.
        features: Name of the output; None for none.
        scale: By how much the logits are enlarged.
        batch: Of the input.
    """
    classes, side = len(colours), SIDE
    weights = colours.reshape(classes, 3, 1, 1)
    nodes = [
        helper.make_node("AveragePool", ["inputs"], ["blurred"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["blurred", "w", "b"], ["scores"]),
        helper.make_node("Resize", ["scores", "", "scales"], [logits], mode="nearest"),
    ]
    outputs: dict[str, list[Any]] = {logits: [batch, classes, side * scale, side * scale]}
    if features is not None:
        nodes.append(
            helper.make_node("AveragePool", ["inputs"], [features], kernel_shape=[2, 2], strides=[2, 2])
        )
        outputs[features] = [batch, 3, side // 2, side // 2]
    tensors = [
        array("w", 4.0 * weights),
        array("b", -2.0 * (colours**2).sum(axis=1)),
        array("scales", [1.0, 1.0, scale, scale]),
    ]
    return model_of(nodes, tensors, outputs, inputs={"inputs": [batch, 3, side, side]})
