"""The networks: the package's own encoder, what its head does before the last layer, and our classifier.

Parameters are named as in the package, with `encoder` for what it names after the model (`vit`, `bert`...)
and `classifier` for the head's last linear layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.hugging_face.configuration import configuration
from fdkd_core.models.initial_weights import he_normal
from fdkd_core.models.target import Target
from fdkd_core.models.text_transformer import PADDING_ID
from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    ConvNextSpec,
    DistilBertSpec,
    MobileNetV2Spec,
    ResNetSpec,
    ViTSpec,
    Wav2Vec2Spec,
)
from fdkd_core.spec.hugging_face.sizes import pooled_size

_BATCH_NORM_MOMENTUM = 0.1


class HuggingFaceBackbone(Backbone):
    """Features of the package's encoder, and a linear classifier behind a dropout.

    Args:
        encoder: The package's model without a head.
        feature_dim: D.
        num_classes: Classes, at least 1.
        dropout: Share of features dropped before the classifier.
    """

    def __init__(self, encoder: nn.Module, feature_dim: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature_dim = feature_dim
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim, num_classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Shape [B, D]: what the head's last layer reads."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: As the modality gives them."""
        features_BD = self.features(inputs)
        return ModelOutput(features_BD, self.classifier(self.dropout(features_BD)))


class PooledMaps(HuggingFaceBackbone):
    """MobileNetV2, ResNet and ConvNeXt: the last map averaged over space."""

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Shape [B, channels, H, W]."""
        pooled: Tensor = self.encoder(inputs).pooler_output
        return pooled.flatten(1)


class ClassToken(HuggingFaceBackbone):
    """ViT: the class token behind the last norm."""

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Shape [B, channels, H, W], the size that it was built for."""
        hidden_BLD: Tensor = self.encoder(inputs).last_hidden_state
        return hidden_BLD[:, 0]


class SpectrogramTokens(HuggingFaceBackbone):
    """AST: the mean of class and distillation token behind the head's norm."""

    def __init__(self, encoder: nn.Module, feature_dim: int, num_classes: int, eps: float) -> None:
        super().__init__(encoder, feature_dim, num_classes)
        self.head_norm = nn.LayerNorm(feature_dim, eps=eps)

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Shape [B, 1, bands, frames]; the package wants frames before bands."""
        pooled: Tensor = self.head_norm(self.encoder(inputs[:, 0].transpose(1, 2)).pooler_output)
        return pooled


class Waveform(HuggingFaceBackbone):
    """wav2vec 2.0: projected frames, averaged over all of the series."""

    def __init__(self, encoder: nn.Module, hidden_size: int, feature_dim: int, num_classes: int) -> None:
        super().__init__(encoder, feature_dim, num_classes)
        self.projector = nn.Linear(hidden_size, feature_dim)

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Shape [B, 1, samples]."""
        projected_BTD: Tensor = self.projector(self.encoder(inputs[:, 0]).last_hidden_state)
        return projected_BTD.mean(dim=1)


class Tokens(HuggingFaceBackbone):
    """BERT: the pooler's output. Padding (id 0) is masked; a text without a token is one padding token."""

    input_dtype = torch.int64

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Token ids, int64 [B, L], padded with 0 at the end."""
        pooled: Tensor = self.encode(inputs).pooler_output
        return pooled

    def encode(self, inputs: Tensor) -> Any:
        """The encoder's output of a batch."""
        real_BL = inputs != PADDING_ID
        empty_B1 = ~real_BL.any(dim=1, keepdim=True)
        real_BL = torch.cat([real_BL[:, :1] | empty_B1, real_BL[:, 1:]], dim=1)
        return self.encoder(input_ids=inputs, attention_mask=real_BL)


class DistilledTokens(Tokens):
    """DistilBERT: the first token behind a linear layer and a ReLU."""

    def __init__(self, encoder: nn.Module, feature_dim: int, num_classes: int, dropout: float) -> None:
        super().__init__(encoder, feature_dim, num_classes, dropout)
        self.pre_classifier = nn.Linear(feature_dim, feature_dim)

    def features(self, inputs: Tensor) -> Tensor:
        """Args: inputs: Token ids, int64 [B, L], padded with 0 at the end."""
        hidden_BLD: Tensor = self.encode(inputs).last_hidden_state
        return torch.relu(self.pre_classifier(hidden_BLD[:, 0]))


def build_mobilenet_v2(spec: MobileNetV2Spec, target: Target) -> Backbone:
    """With its batch norms and first weights as in the rest of this project.

    The package has a momentum of 0.997, which is TensorFlow's for what torch calls 0.003: its running
    statistics would be those of the last batch. And it draws every filter with a deviation of 0.02, by which
    the untrained network puts out 1e-25 in eval mode.
    """
    from transformers.models.mobilenet_v2 import MobileNetV2Model

    model = PooledMaps(
        MobileNetV2Model(configuration(spec, target)),
        pooled_size(spec),
        target.num_classes,
        spec.classifier_dropout_prob,
    )
    remember_more_than_a_batch(model)
    he_normal(model, "fan_out")
    return model


def remember_more_than_a_batch(model: nn.Module) -> None:
    """Gives the batch norms of MobileNetV2 the momentum that they have everywhere else."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _BATCH_NORM_MOMENTUM


def build_resnet(spec: ResNetSpec, target: Target) -> Backbone:
    """ResNet of the package."""
    from transformers.models.resnet import ResNetModel

    return PooledMaps(ResNetModel(configuration(spec, target)), pooled_size(spec), target.num_classes)


def build_convnext(spec: ConvNextSpec, target: Target) -> Backbone:
    """ConvNeXt of the package."""
    from transformers.models.convnext import ConvNextModel

    return PooledMaps(ConvNextModel(configuration(spec, target)), pooled_size(spec), target.num_classes)


def build_vit(spec: ViTSpec, target: Target) -> Backbone:
    """ViT of the package, without its pooler, which its classifier does not use."""
    from transformers.models.vit import ViTModel

    encoder = ViTModel(configuration(spec, target), add_pooling_layer=False)
    return ClassToken(encoder, pooled_size(spec), target.num_classes)


def build_ast(spec: ASTSpec, target: Target) -> Backbone:
    """AST of the package."""
    from transformers.models.audio_spectrogram_transformer import ASTModel

    encoder = ASTModel(configuration(spec, target))
    return SpectrogramTokens(encoder, pooled_size(spec), target.num_classes, spec.layer_norm_eps)


def build_wav2vec2(spec: Wav2Vec2Spec, target: Target) -> Backbone:
    """wav2vec 2.0 of the package, without its quantiser and masks, which are for pre-training."""
    from transformers.models.wav2vec2 import Wav2Vec2Model

    encoder = Wav2Vec2Model(configuration(spec, target))
    return Waveform(encoder, spec.hidden_size, pooled_size(spec), target.num_classes)


def build_bert(spec: BertSpec, target: Target) -> Backbone:
    """BERT of the package."""
    from transformers.models.bert import BertModel

    dropout = spec.hidden_dropout_prob if spec.classifier_dropout is None else spec.classifier_dropout
    return Tokens(BertModel(configuration(spec, target)), pooled_size(spec), target.num_classes, dropout)


def build_distilbert(spec: DistilBertSpec, target: Target) -> Backbone:
    """DistilBERT of the package."""
    from transformers.models.distilbert import DistilBertModel

    return DistilledTokens(
        DistilBertModel(configuration(spec, target)),
        pooled_size(spec),
        target.num_classes,
        spec.seq_classif_dropout,
    )
