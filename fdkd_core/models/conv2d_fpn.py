"""A small 2-D convolutional network that answers by pixel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fdkd_core.models.base import DenseBackbone, ModelOutput
from fdkd_core.models.initial_weights import he_normal


class Conv2dFPN(DenseBackbone):
    """The blocks of `Conv2d`, and a way back up through the maps of all of them, to half the input's sides.

    Args:
        channels: Input channels, at least 1.
        num_classes: Classes, at least 1.
        width: Channels of the first block, doubled with each block.
        depth: Blocks, at least 1; each halves both sides, so both must be at least 2**depth.
        dim: D, channels of the way up and of the feature's map.
        dropout: Share of features dropped before the classifier, in [0, 1).

    References:
        Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, figure 3; that one map at the
        end is enough for segmentation, Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int, depth: int, dim: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [width * 2**block for block in range(depth)]
        self.feature_dim = dim
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, dim, kernel_size=1) for inputs in widths)
        self.smooth = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, num_classes)
        he_normal(self)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, H, W]."""
        maps = []
        for block in self.blocks:
            inputs = block(inputs)
            maps.append(inputs)
        laterals = list(zip(self.laterals, maps, strict=True))
        lateral, coarsest = laterals.pop()
        top: Tensor = lateral(coarsest)
        for lateral, finer in reversed(laterals):
            top = lateral(finer) + functional.interpolate(top, size=finer.shape[2:], mode="nearest")
        return self.answer(self.smooth(top))
