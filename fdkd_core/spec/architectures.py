"""Which networks a job may name, as a union tagged by `name`. The registry is `fdkd_core.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.hugging_face.architectures import HuggingFaceSpec
from fdkd_core.spec.hugging_face.dense import DenseHuggingFaceSpec
from fdkd_core.spec.strict import StrictModel

Width = Annotated[int, Field(ge=1, le=2048)]
Depth = Annotated[int, Field(ge=1, le=24)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class ResNet18Spec(StrictModel):
    """ResNet-18 (He et al. 2016), the paper's backbone, for 1..N input channels. D = 8 * width."""

    name: Literal["resnet18"] = "resnet18"
    width: Annotated[int, Field(ge=1, le=512)] = 64
    """Channels of the first stage; 64 is the published network."""
    stem: Literal["auto", "large", "small"] = "auto"
    """`large`: 7x7 stride 2 and max pooling, as published; `small`: 3x3 stride 1. `auto` takes `small`
    for inputs whose shorter side is under 64, which the large stem would shrink to a single pixel."""


class Conv2dSpec(StrictModel):
    """Small 2-D convolutional network for images, depth maps and spectrograms. D = width * 2**(depth-1)."""

    name: Literal["conv2d"] = "conv2d"
    width: Width = 32
    """Channels of the first block; they double with each block. As for conv1d; not measured on pictures."""
    depth: Annotated[int, Field(ge=1, le=6)] = 3
    """Blocks, each convolution + batch norm + ReLU + 2x pooling; as for conv1d. Not measured on
    pictures, where 4 would need sides of 16 and four times the parameters."""
    dropout: Dropout = 0.0
    """Share of features dropped before the classifier; batch norm and augmentation regularise already."""


class Conv2dFPNSpec(StrictModel):
    """Small convolutional network that answers by pixel. D = dim, at half the input's sides.

    The blocks of `conv2d`, and a way back up that adds each block's map to the one below it, which was
    enlarged (feature pyramid: Lin et al. 2017; one map for segmentation: Kirillov et al. 2019).
    """

    name: Literal["conv2d_fpn"] = "conv2d_fpn"
    width: Width = 32
    """Channels of the first block; they double with each block. As for conv2d; not measured."""
    depth: Annotated[int, Field(ge=2, le=6)] = 3
    """Blocks, each convolution + batch norm + ReLU + 2x pooling; as for conv2d. A pixel's answer sees about
    2**(depth + 2) pixels around it: take more for large pictures."""
    dim: Annotated[int, Field(ge=2, le=512)] = 64
    """Channels of the way up, and of the feature of each place. Not measured; the published pyramids have
    128 to 256."""
    dropout: Dropout = 0.0
    """Share of features dropped before the classifier, as for conv2d."""


class Conv1dSpec(StrictModel):
    """Small 1-D convolutional network for time series. D = width * 2**(depth-1)."""

    name: Literal["conv1d"] = "conv1d"
    width: Width = 32
    """Channels of the first block; they double with each block. Half and twice of it were the same
    within noise on validation."""
    depth: Annotated[int, Field(ge=1, le=6)] = 3
    """Blocks, each convolution + batch norm + ReLU + 2x pooling; 2 was no better. 4 may be, at four
    times the parameters, but needs sides of 16."""
    kernel: Annotated[int, Field(ge=1, le=63)] = 5
    """Samples a filter covers; odd. With the pooling, three blocks of 5 see about 40 samples, a second
    at 40 Hz."""
    dropout: Dropout = 0.0
    """Share of features dropped before the classifier; batch norm and augmentation regularise already."""


class MLPSpec(StrictModel):
    """Multilayer perceptron for vectors; other float inputs are flattened. D = width."""

    name: Literal["mlp"] = "mlp"
    width: Width = 128
    """Units of each hidden layer; half and twice of it were the same within noise."""
    depth: Annotated[int, Field(ge=1, le=8)] = 2
    """Hidden layers; 1 and 3 were the same within noise."""
    dropout: Dropout = 0.0
    """Share of units dropped after each hidden layer; the light augmentation drops inputs already."""


class TextTransformerSpec(StrictModel):
    """Small pre-norm transformer encoder over token ids, mean-pooled over real tokens. D = width."""

    name: Literal["text_transformer"] = "text_transformer"
    width: Annotated[int, Field(ge=8, le=2048)] = 64
    """Embedding size; a multiple of `heads`. Small, as are the data sets that train it from nothing."""
    depth: Depth = 2
    """Encoder layers; two are the fewest that relate words by what surrounds them. Not measured."""
    heads: Annotated[int, Field(ge=1, le=32)] = 4
    """Attention heads; 16 values each at the default width. Not measured."""
    dropout: Dropout = 0.1
    """Share dropped in embeddings, attention and both branches; the value of the original transformer."""


ArchitectureSpec = Annotated[
    ResNet18Spec
    | Conv2dSpec
    | Conv1dSpec
    | MLPSpec
    | TextTransformerSpec
    | HuggingFaceSpec
    | Conv2dFPNSpec
    | DenseHuggingFaceSpec,
    Field(discriminator="name"),
]
