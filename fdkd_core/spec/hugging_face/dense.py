"""Networks of the transformers package that answer by pixel, in the words of `config.json`.

As `architectures`, an allow-list with a cap on every size.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.hugging_face.architectures import (
    Activation,
    Blocks,
    Epsilon,
    Heads,
    Hidden,
    MobileNetV2Spec,
    Patch,
    Share,
    Stages,
)
from fdkd_core.spec.strict import StrictModel

PerStage = Annotated[tuple[Patch, ...], Field(min_length=1, max_length=6)]


class SegformerSpec(StrictModel):
    """SegFormer (Xie et al. 2021), a transformer by stages whose maps one linear decoder joins.

    D = decoder_hidden_size, at the stride of the first stage. The default is SegFormer-B0 but for its drop
    path. Each tuple has one number per stage.
    """

    name: Literal["segformer"] = "segformer"
    hidden_sizes: Stages = (32, 64, 160, 256)
    """Values per place of each stage, a multiple of its heads; B0's. B1 has 64, 128, 320, 512."""
    depths: Blocks = (2, 2, 2, 2)
    """Layers of each stage; B0's and B1's."""
    num_attention_heads: Annotated[tuple[Heads, ...], Field(min_length=1, max_length=6)] = (1, 2, 5, 8)
    """As published."""
    patch_sizes: PerStage = (7, 3, 3, 3)
    """Side of the overlapping squares that a stage takes; odd, as published."""
    strides: PerStage = (4, 2, 2, 2)
    """Steps between them: how many times smaller each stage's map is; as published. For pictures under 64
    pixels, 2 in the first stage keeps small things."""
    sr_ratios: PerStage = (8, 4, 2, 1)
    """By how much keys and values are thinned out in each direction; as published."""
    mlp_ratios: Annotated[
        tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1, max_length=6)
    ] = (4, 4, 4, 4)
    """Units between the two layers of a block, as a multiple of its width; as published."""
    decoder_hidden_size: Hidden = 256
    """Values per place of the decoder; B0's and B1's."""
    hidden_act: Activation = "gelu"
    """As published."""
    hidden_dropout_prob: Share = 0.0
    """As published."""
    attention_probs_dropout_prob: Share = 0.0
    """As published."""
    classifier_dropout_prob: Share = 0.1
    """Share of features dropped before the classifier; as published."""
    drop_path_rate: Share = 0.0
    """Share of samples for which the last block's branch is left out, less in earlier ones. Published with
    0.1; none, for the reason of `convnext`."""


class MobileNetV2DeepLabSpec(StrictModel):
    """MobileNetV2 with the head of DeepLabV3 (Sandler et al. 2018, section 6.3). D = 256.

    That head has no other dilated branches than the 1x1 and the pooled one, as the paper found best for
    phones. Its map is `output_stride` times smaller than the input.
    """

    name: Literal["mobilenet_v2_deeplab"] = "mobilenet_v2_deeplab"
    depth_multiplier: Annotated[float, Field(ge=0.1, le=2.0)] = 0.35
    """As for `mobilenet_v2`."""
    expand_ratio: Annotated[float, Field(ge=1.0, le=12.0)] = 6.0
    """As for `mobilenet_v2`."""
    output_stride: Literal[8, 16, 32] = 8
    """The finer of the two that the paper has, since pictures here are small. 32, the package's own default,
    dilates nothing: cheapest, and its map of a picture of 512 pixels has 16 places a side."""
    depth_divisible_by: Annotated[int, Field(ge=1, le=64)] = 8
    """As for `mobilenet_v2`."""
    min_depth: Annotated[int, Field(ge=1, le=64)] = 8
    """As for `mobilenet_v2`."""
    first_layer_is_expansion: bool = True
    """As for `mobilenet_v2`."""
    tf_padding: bool = True
    """As for `mobilenet_v2`."""
    hidden_act: Activation = "relu6"
    """As for `mobilenet_v2`."""
    layer_norm_eps: Epsilon = 0.001
    """Of the batch norms of the encoder, as for `mobilenet_v2`."""
    classifier_dropout_prob: Share = 0.1
    """Share of whole channels dropped before the classifier; DeepLab's (the package has 0.8)."""

    @property
    def encoder(self) -> MobileNetV2Spec:
        """The network under the head; its last layer is not built."""
        return MobileNetV2Spec(**self.model_dump(exclude={"name"}))


DEEPLAB_DIM = 256
"""Channels of the head, which the package fixes."""

DenseHuggingFaceSpec = SegformerSpec | MobileNetV2DeepLabSpec
