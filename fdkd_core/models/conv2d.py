"""A small 2-D convolutional network for images, depth maps and spectrograms."""

from __future__ import annotations

from torch import Tensor, nn

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.initial_weights import he_normal


class Conv2d(Backbone):
    """`depth` blocks of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then the average over space.

    Args:
        channels: Input channels, at least 1.
        num_classes: Classes, at least 1.
        width: Channels of the first block, doubled with each block. D = width * 2**(depth-1).
        depth: Blocks; each halves both sides, so both must be at least 2**depth.
        dropout: Share of features dropped before the classifier, in [0, 1).
    """

    def __init__(self, channels: int, num_classes: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        widths = [width * 2**block for block in range(depth)]
        self.feature_dim = widths[-1]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for inputs, outputs in zip([channels, *widths], widths, strict=False)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.feature_dim, num_classes)
        he_normal(self)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, H, W]."""
        features_BD = self.blocks(inputs).mean(dim=(2, 3))
        return ModelOutput(features_BD, self.classifier(self.dropout(features_BD)))
