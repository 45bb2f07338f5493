"""ResNet-18 for any number of input channels, with a stem for small inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.initial_weights import he_normal

BLOCKS_PER_STAGE = (2, 2, 2, 2)


def _conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Args: x_BCHW: Shape [B, inputs, H, W]."""
        out_BCHW = torch.relu(self.bn1(self.conv1(x_BCHW)))
        out_BCHW = self.bn2(self.conv2(out_BCHW))
        # Not in place: a hook or a loss may hold the sum before the ReLU.
        return torch.relu(out_BCHW + self.downsample(x_BCHW))


class ResNet18(Backbone):
    """ResNet-18: features are the post-ReLU output of the last block, averaged over space.

    Parameters are named as in torchvision, with `classifier` for its `fc`: published weights need one rename.

    Args:
        channels: Input channels, at least 1.
        num_classes: Classes, at least 1.
        width: Channels of the first stage; 64 is the published network. D = 8 * width.
        stem: `large` (7x7 stride 2, max pooling 3x3 stride 2) or `small` (3x3 stride 1).

    References:
        He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
    """

    def __init__(self, channels: int, num_classes: int, width: int, stem: str) -> None:
        super().__init__()
        self.feature_dim = 8 * width
        large = stem == "large"
        self.conv1 = (
            nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
            if large
            else _conv3x3(channels, width, 1)
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if large else nn.Identity()
        stages = []
        inputs = width
        for number, blocks in enumerate(BLOCKS_PER_STAGE):
            outputs = width * 2**number
            strides = [1 if number == 0 else 2] + [1] * (blocks - 1)
            stage = []
            for stride in strides:
                stage.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.classifier = nn.Linear(self.feature_dim, num_classes)
        he_normal(self, "fan_out")

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, H, W], both sides at least `catalogue.MIN_SIDE[stem]`."""
        x_BCHW = self.maxpool(torch.relu(self.bn1(self.conv1(inputs))))
        x_BCHW = self.layer4(self.layer3(self.layer2(self.layer1(x_BCHW))))
        features_BD = x_BCHW.mean(dim=(2, 3))
        return ModelOutput(features_BD, self.classifier(features_BD))
