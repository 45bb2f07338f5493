"""A small 1-D convolutional network for time series."""

from __future__ import annotations

from torch import Tensor, nn

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.initial_weights import he_normal


class Conv1d(Backbone):
    """`depth` blocks of convolution, batch norm, ReLU and 2x max pooling, then the average over time.

    Args:
        channels: Input channels, at least 1.
        num_classes: Classes, at least 1.
        width: Channels of the first block, doubled with each block. D = width * 2**(depth-1).
        depth: Blocks; each halves the length, so it must be at least 2**depth samples.
        kernel: Samples a filter covers; odd, so that its padding keeps the length.
        dropout: Share of features dropped before the classifier, in [0, 1).
    """

    def __init__(
        self, channels: int, num_classes: int, width: int, depth: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [width * 2**block for block in range(depth)]
        self.feature_dim = widths[-1]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm1d(outputs),
                    nn.ReLU(),
                    nn.MaxPool1d(2),
                )
                for inputs, outputs in zip([channels, *widths], widths, strict=False)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.feature_dim, num_classes)
        he_normal(self)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, T]."""
        features_BD = self.blocks(inputs).mean(dim=2)
        return ModelOutput(features_BD, self.classifier(self.dropout(features_BD)))
