"""The networks of the package that answer by pixel: its encoder and head, and our classifier.

Parameters are named as in the package, with `encoder` for what it names after the model, `head` for its head
and `classifier` for the head's last layer, which is a 1x1 convolution there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fdkd_core.models.base import DenseBackbone, ModelOutput
from fdkd_core.models.hugging_face.backbones import remember_more_than_a_batch
from fdkd_core.models.hugging_face.configuration import ATTENTION, configuration, quiet
from fdkd_core.models.initial_weights import he_normal
from fdkd_core.models.target import Target
from fdkd_core.spec.dense import dense_dim
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec, SegformerSpec


class _Headed(DenseBackbone):
    """An encoder, a head whose own dropout and classifier do nothing, and ours.

    Args:
        encoder: Of the package.
        head: Of the package.
        feature_dim: D.
        num_classes: Classes, at least 1.
        dropout: What the package has before its classifier.
    """

    def __init__(
        self, encoder: Any, head: Any, feature_dim: int, num_classes: int, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.encoder = encoder
        head.dropout = nn.Identity()
        head.classifier = nn.Identity()
        self.head = head
        self.feature_dim = feature_dim
        self.dropout = dropout
        self.classifier = nn.Linear(feature_dim, num_classes)


class Segformer(_Headed):
    """SegFormer: the maps of all stages, joined at the size of the first."""

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, H, W]."""
        maps = []
        for stage in self.encoder.stages:
            inputs = stage(inputs)
            maps.append(inputs)
        return self.answer(self.head(maps))


class MobileNetV2DeepLab(_Headed):
    """MobileNetV2 without its last layer, and DeepLabV3's pooled and 1x1 branches."""

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Shape [B, channels, H, W]; B at least 2 in training, for the pooled branch."""
        x_BCHW = self.encoder.conv_stem(inputs)
        for layer in self.encoder.layer:
            x_BCHW = layer(x_BCHW)
        return self.answer(self.head(x_BCHW))


def build_segformer(spec: SegformerSpec, target: Target) -> DenseBackbone:
    """SegFormer of the package."""
    from transformers.models.segformer import SegformerConfig, SegformerModel
    from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

    fields: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in spec.model_dump(exclude={"name"}).items()
    }
    with quiet():
        config = SegformerConfig(
            **fields, num_channels=target.input_shape[0], num_encoder_blocks=len(spec.depths)
        )
    config._attn_implementation = ATTENTION
    return Segformer(
        SegformerModel(config),
        SegformerDecodeHead(config),  # type: ignore[no-untyped-call]
        dense_dim(spec),
        target.num_classes,
        nn.Dropout(spec.classifier_dropout_prob),
    )


def build_mobilenet_v2_deeplab(spec: MobileNetV2DeepLabSpec, target: Target) -> DenseBackbone:
    """MobileNetV2 with its segmentation head, with batch norms and first weights as `build_mobilenet_v2`."""
    from transformers.models.mobilenet_v2 import MobileNetV2Model
    from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2DeepLabV3Plus

    config = configuration(spec.encoder, target)
    encoder: Any = MobileNetV2Model(config, add_pooling_layer=False)
    encoder.conv_1x1 = nn.Identity()
    model = MobileNetV2DeepLab(
        encoder,
        MobileNetV2DeepLabV3Plus(config),
        dense_dim(spec),
        target.num_classes,
        nn.Dropout2d(spec.classifier_dropout_prob),
    )
    remember_more_than_a_batch(model)
    he_normal(model, "fan_out")
    return model
