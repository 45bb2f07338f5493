"""A multilayer perceptron for vectors, and for anything that can be flattened to one."""

from __future__ import annotations

from torch import Tensor, nn

from fdkd_core.models.base import Backbone, ModelOutput


class MLP(Backbone):
    """`depth` hidden layers of `width` units with ReLU; features are the last after its ReLU. D = width.

    Args:
        inputs: Values per sample, after flattening.
        num_classes: Classes, at least 1.
        width: Units of each hidden layer.
        depth: Hidden layers, at least 1.
        dropout: Share of units dropped after each hidden layer, in [0, 1); the returned features keep all.
    """

    def __init__(self, inputs: int, num_classes: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.feature_dim = width
        layers: list[nn.Module] = [nn.Flatten()]
        for layer in range(depth):
            if layer > 0:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(inputs if layer == 0 else width, width), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)
        for module in self.hidden.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, ...] with `inputs` values per sample."""
        features_BD = self.hidden(inputs)
        return ModelOutput(features_BD, self.classifier(self.dropout(features_BD)))
