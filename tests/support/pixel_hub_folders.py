"""Tiny random networks that answer by pixel, saved as the transformers package saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hub_folders import HubModel

LABELS = {0: "wall", 1: "ball", 2: "box"}
"""In the order of `scene_data`, which is not that of their letters."""
SIDE = 32
SIZES = {
    "segformer": (SIDE, SIDE),
    "deeplab": (SIDE, SIDE),
    "deeplab-wide": (24, 32),
    "deeplab-coarse": (64, 64),
}
"""Height and width of the inputs."""
STRIDES = {"segformer": 2, "deeplab": 8, "deeplab-wide": 8, "deeplab-coarse": 32}
"""How many times smaller the maps are."""


def save_pixel_folder(
    kind: str, folder: Path, values: list[Any], *, labels: dict[int, str] | None = None
) -> HubModel:
    """Saves a network with its preprocessing, and returns both.

    Args:
        kind: A key of `SIZES`.
        folder: Where to.
        values: Pictures that its batch norms have seen, and over which no class is more frequent than others.
        labels: Names by index; those of `LABELS` when absent.
    """
    torch.manual_seed(0)
    model, processor = _MAKERS[kind.partition("-")[0]](labels or LABELS, SIZES[kind], STRIDES[kind])
    with torch.no_grad():
        for parameter in model.parameters():  # else the head is the same for all inputs but for a hair
            parameter.add_(0.1 * torch.randn_like(parameter))

    def prepare(values: list[Any]) -> dict[str, Any]:
        return {"pixel_values": processor(images=values, return_tensors="pt")["pixel_values"]}

    with torch.no_grad():
        for _ in range(20):
            model.train()(**prepare(values))
        means = model.eval()(**prepare(values)).logits.mean(dim=(0, 2, 3))
        _last_bias(model).sub_(means)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)

    @torch.no_grad()
    def logits(values: list[Any]) -> Any:
        return model(**prepare(values)).logits.numpy()

    return HubModel(prepare, logits)


def _last_bias(model: Any) -> Any:
    return next(value for name, value in reversed(list(model.named_parameters())) if name.endswith("bias"))


def _segformer(labels: dict[int, str], sides: tuple[int, int], stride: int) -> Any:
    from transformers.models.segformer import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    config = SegformerConfig(
        hidden_sizes=[8, 12], depths=[1, 2], num_attention_heads=[1, 2], patch_sizes=[7, 3],
        strides=[stride, 2], sr_ratios=[2, 1], mlp_ratios=[2, 2], num_encoder_blocks=2,
        decoder_hidden_size=16, id2label=labels,
    )  # fmt: skip
    # Of another shape than the pictures: both sides are scaled on their own.
    size = dict(zip(("height", "width"), sides, strict=True))
    return SegformerForSemanticSegmentation(config), SegformerImageProcessorPil(
        size=size, do_reduce_labels=True
    )


def _deeplab(labels: dict[int, str], sides: tuple[int, int], stride: int) -> Any:
    from transformers.models.mobilenet_v2 import MobileNetV2Config, MobileNetV2ForSemanticSegmentation
    from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import (
        MobileNetV2ImageProcessorPil,
    )

    config = MobileNetV2Config(depth_multiplier=0.1, output_stride=stride, id2label=labels)
    processor = MobileNetV2ImageProcessorPil(
        size={"shortest_edge": min(sides)}, crop_size={"height": sides[0], "width": sides[1]}
    )
    return MobileNetV2ForSemanticSegmentation(config), processor


_MAKERS: dict[str, Callable[[dict[int, str], tuple[int, int], int], Any]] = {
    "segformer": _segformer,
    "deeplab": _deeplab,
}
KINDS = tuple(SIZES)
