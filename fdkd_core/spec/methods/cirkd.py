"""Relations between pixels of different samples."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class CIRKDSpec(DistillingSpec):
    """CIRKD (Yang et al., CVPR 2022), for segmentation: how pixels of a batch resemble each other.

    L_task + logit_weight * T^2 KL of each pixel's classes + pixel_weight * KL of each pixel's similarities to
    the pixels of every sample of the batch. The paper's two terms against a memory of pixels and regions of
    earlier batches are left out: they need a queue of features per class that grows with the classes, is
    drawn from at random and would have to be in every checkpoint, for 0.1 of the weight of the others.
    """

    name: Literal["cirkd"] = "cirkd"
    compares_channels: ClassVar[bool] = False
    logit_weight: Weight = 1.0
    """Factor of the pixels' KL; 1 in the paper."""
    temperature: Temperature = 1.0
    """Of the pixels' KL; 1 in the paper."""
    pixel_weight: Weight = 1.0
    """Factor of the similarities' KL; 1 in the paper."""
    similarity_temperature: Temperature = 0.1
    """Of the softmax over cosine similarities; the paper's."""
    side: Annotated[int, Field(ge=1, le=32)] = 8
    """Each map is averaged to at most side x side places first, since all places of a batch are compared with
    each other: 64 samples of 8 x 8 make a table of 4,096 x 4,096, 67 MB. The paper's code halves the sides of
    maps of 64 x 128, on batches of 4 a device."""
