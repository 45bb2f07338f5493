"""One small network at least of each family of the transformers package, with an input that fits it."""

from __future__ import annotations

from typing import Any

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

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}

Case = tuple[Any, tuple[int, ...], int | None, int]
"""A spec, the shape of one sample, the number of token ids, and D."""

PLAIN: dict[str, Case] = {
    "mobilenet_v2": (MobileNetV2Spec(depth_multiplier=0.1), (3, 32, 40), None, 1280),
    "resnet": (
        ResNetSpec(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 2)), (3, 17, 24), None, 16,
    ),
    "convnext": (ConvNextSpec(patch_size=2, hidden_sizes=(8, 12), depths=(1, 2)), (3, 9, 8), None, 12),
    "vit": (ViTSpec(**_ENCODER), (1, 16, 24), None, 32),
    "ast": (ASTSpec(**_ENCODER), (1, 40, 64), None, 32),
    "wav2vec2": (
        Wav2Vec2Spec(
            **_ENCODER, conv_dim=(8, 12), conv_stride=(5, 2), conv_kernel=(10, 3), classifier_proj_size=20,
            num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
        ),
        (1, 200), None, 20,
    ),
    "bert": (BertSpec(**_ENCODER), (12,), 40, 32),
    "distilbert": (DistilBertSpec(dim=32, n_layers=2, n_heads=2, hidden_dim=48), (12,), 40, 32),
}  # fmt: skip
"""The defaults but for their sizes."""

_VARIANTS: dict[str, Case] = {
    "mobilenet_v2-wide": (
        MobileNetV2Spec(
            depth_multiplier=1.1, first_layer_is_expansion=False, output_stride=8, tf_padding=False,
            expand_ratio=1.5, hidden_act="silu",
        ),
        (1, 9, 12), None, 1408,
    ),
    "mobilenet_v2-narrow": (
        MobileNetV2Spec(
            depth_multiplier=0.3, output_stride=16, finegrained_output=False, depth_divisible_by=4,
            min_depth=6,
        ),
        (2, 40, 24), None, 384,
    ),
    "resnet-bottleneck": (
        ResNetSpec(embedding_size=8, hidden_sizes=(16, 32), depths=(1, 2), layer_type="bottleneck"),
        (1, 40, 20), None, 32,
    ),
    "resnet-early": (
        ResNetSpec(
            embedding_size=8, hidden_sizes=(8, 32), depths=(2, 1), layer_type="bottleneck",
            downsample_in_first_stage=True, downsample_in_bottleneck=True,
        ),
        (1, 40, 20), None, 32,
    ),
    "convnext-unscaled": (
        ConvNextSpec(
            patch_size=3, hidden_sizes=(8,), depths=(2,), layer_scale_init_value=0.0, drop_path_rate=0.5
        ),
        (1, 7, 8), None, 8,
    ),
    "vit-dropout": (
        ViTSpec(
            **_ENCODER, qkv_bias=False, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
            patch_size=4,
        ),
        (3, 16, 24), None, 32,
    ),
    "ast-strides": (ASTSpec(**_ENCODER, qkv_bias=False, patch_size=8, time_stride=7), (1, 40, 63), None, 32),
    "wav2vec2-stable": (
        Wav2Vec2Spec(
            **_ENCODER, conv_dim=(8, 16, 16), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 2), conv_bias=True,
            feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=9,
            num_conv_pos_embedding_groups=4, hidden_dropout=0.0, activation_dropout=0.0,
            attention_dropout=0.0,
        ),
        (1, 201), None, 256,
    ),
    "bert-larger": (
        BertSpec(
            **_ENCODER, vocab_size=50, max_position_embeddings=20, type_vocab_size=1, classifier_dropout=0.3,
            attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0,
        ),
        (12,), 40, 32,
    ),
    "distilbert-larger": (
        DistilBertSpec(
            dim=24, n_layers=1, n_heads=3, hidden_dim=30, vocab_size=50, max_position_embeddings=20
        ),
        (1,), 40, 24,
    ),
}  # fmt: skip

CASES = PLAIN | _VARIANTS
