"""Networks of the transformers package, an allow-list: what they are made of, in the words of `config.json`.

Fields are named as in the package's configurations, so that a published network can be written down from its
`config.json`. What the data decide (channels, image size, classes) is no field. Fields that change the
network and are not here keep the package's default; what draws from numpy's generator, which no checkpoint
holds, is off (SpecAugment, layer drop).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.strict import StrictModel

Hidden = Annotated[int, Field(ge=1, le=2048)]
Intermediate = Annotated[int, Field(ge=1, le=8192)]
Layers = Annotated[int, Field(ge=1, le=48)]
Heads = Annotated[int, Field(ge=1, le=64)]
Patch = Annotated[int, Field(ge=1, le=64)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=0.1)]
Activation = Literal["gelu", "relu", "relu6", "silu"]
Stages = Annotated[tuple[Hidden, ...], Field(min_length=1, max_length=6)]
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=6)]
Positions = Annotated[int, Field(ge=1, le=8192)]
Vocabulary = Annotated[int, Field(ge=2, le=1_000_000)]


class MobileNetV2Spec(StrictModel):
    """MobileNetV2 (Sandler et al. 2018) for images, depth maps and spectrograms. D = 1280 up to width 1."""

    name: Literal["mobilenet_v2"] = "mobilenet_v2"
    depth_multiplier: Annotated[float, Field(ge=0.1, le=2.0)] = 0.35
    """The width multiplier: factor of every layer's channels. The smallest that the paper publishes: 0.4
    million parameters before the last layer, for students of CPUs."""
    expand_ratio: Annotated[float, Field(ge=1.0, le=12.0)] = 6.0
    """Channels inside a block over those at its ends; the paper's."""
    output_stride: Literal[8, 16, 32] = 32
    """How many times smaller the last map is than the input, whose sides must be at least that; with 8 and
    16 the later layers are dilated instead, for inputs too small for 32, at the cost of larger maps."""
    depth_divisible_by: Annotated[int, Field(ge=1, le=64)] = 8
    """Channels are rounded to a multiple of it; as published."""
    min_depth: Annotated[int, Field(ge=1, le=64)] = 8
    """Fewest channels of a layer; as published."""
    first_layer_is_expansion: bool = True
    """The first convolution does the first block's expansion; as published."""
    finegrained_output: bool = True
    """Keep 1280 features below width 1; as published."""
    tf_padding: bool = True
    """Pad as TensorFlow does, where the published weights come from: more at the right and lower edge."""
    hidden_act: Activation = "relu6"
    """As published."""
    layer_norm_eps: Epsilon = 0.001
    """Of batch norm, in spite of its name; as published."""
    classifier_dropout_prob: Share = 0.2
    """Share of features dropped before the classifier; the paper's (the package has 0.8)."""


class ResNetSpec(StrictModel):
    """ResNet of any depth (He et al. 2016), with the stem for large inputs. D = the last of `hidden_sizes`.

    The default is ResNet-18; `resnet18` is the same network with a stem for small inputs as well.
    """

    name: Literal["resnet"] = "resnet"
    embedding_size: Hidden = 64
    """Channels of the stem; as published."""
    hidden_sizes: Stages = (64, 128, 256, 512)
    """Channels that each stage puts out; ResNet-50 has 256, 512, 1024, 2048."""
    depths: Blocks = (2, 2, 2, 2)
    """Blocks of each stage; ResNet-34 and ResNet-50 have 3, 4, 6, 3."""
    layer_type: Literal["basic", "bottleneck"] = "basic"
    """`bottleneck` from ResNet-50 up: a 3x3 convolution between two 1x1 on a quarter of the channels."""
    hidden_act: Activation = "relu"
    """As published."""
    downsample_in_first_stage: bool = False
    """Halve the sides once more, in the first stage; not so in the published ones."""
    downsample_in_bottleneck: bool = False
    """Halve in the 1x1 convolution, as the first paper did, instead of the 3x3 as everybody since."""


class ConvNextSpec(StrictModel):
    """ConvNeXt (Liu et al. 2022) for images, depth maps and spectrograms. D = the last of `hidden_sizes`."""

    name: Literal["convnext"] = "convnext"
    patch_size: Patch = 4
    """Side of the squares that the stem takes, in pixels; as published."""
    hidden_sizes: Stages = (40, 80, 160, 320)
    """Channels of each stage; those of Atto, the smallest published. Tiny has 96, 192, 384, 768."""
    depths: Blocks = (2, 2, 6, 2)
    """Blocks of each stage; Atto's. Tiny has 3, 3, 9, 3."""
    hidden_act: Activation = "gelu"
    """As published."""
    layer_norm_eps: Epsilon = 1e-12
    """Of the last norm, as the package has it; the others have 1e-6."""
    layer_scale_init_value: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-6
    """Start of each branch's learnt scale; 0 leaves the scale out. As published."""
    drop_path_rate: Share = 0.0
    """Share of samples for which the last block's branch is left out, less in earlier ones. None, because
    small sets on small networks underfit first."""


class ViTSpec(StrictModel):
    """Vision Transformer (Dosovitskiy et al. 2021) for images, depth maps, spectrograms. D = hidden_size.

    Sides must be multiples of the patch. Its features are the class token behind the last norm.
    """

    name: Literal["vit"] = "vit"
    hidden_size: Hidden = 192
    """Values per patch, a multiple of the heads; DeiT-Tiny's. ViT-Base has 768."""
    num_hidden_layers: Layers = 6
    """Half of the published 12: fewer to train from nothing. Not measured."""
    num_attention_heads: Heads = 3
    """64 values each, as published."""
    intermediate_size: Intermediate = 768
    """Units between the two layers of a block; four times the width, as published."""
    patch_size: Patch = 8
    """Side of a patch in pixels: 64 patches of a picture of 64 x 64. Published networks have 16 at 224."""
    qkv_bias: bool = True
    """Queries, keys and values have a bias; as published."""
    hidden_act: Activation = "gelu"
    """As published."""
    layer_norm_eps: Epsilon = 1e-12
    """As the package has it."""
    hidden_dropout_prob: Share = 0.0
    """Share dropped in embeddings and branches; none, as published for fine-tuning."""
    attention_probs_dropout_prob: Share = 0.0
    """Share of attention dropped; none, as published."""


class ASTSpec(StrictModel):
    """Audio Spectrogram Transformer (Gong et al. 2021) over log-mel spectrograms. D = hidden_size.

    Its features are the mean of class and distillation token behind both norms.
    """

    name: Literal["ast"] = "ast"
    hidden_size: Hidden = 192
    """Values per patch, a multiple of the heads; as for `vit`. The published network has 768."""
    num_hidden_layers: Layers = 6
    """As for `vit`; published with 12."""
    num_attention_heads: Heads = 3
    """64 values each, as published."""
    intermediate_size: Intermediate = 768
    """Units between the two layers of a block; four times the width, as published."""
    patch_size: Patch = 16
    """Bands and frames of a patch; as published."""
    frequency_stride: Patch = 10
    """Bands between patches, which overlap; as published."""
    time_stride: Patch = 10
    """Frames between patches; as published."""
    qkv_bias: bool = True
    """As published."""
    hidden_act: Activation = "gelu"
    """As published."""
    layer_norm_eps: Epsilon = 1e-12
    """As the package has it."""
    hidden_dropout_prob: Share = 0.0
    """As for `vit`."""
    attention_probs_dropout_prob: Share = 0.0
    """As for `vit`."""


class Wav2Vec2Spec(StrictModel):
    """wav2vec 2.0 (Baevski et al. 2020) over a raw waveform. D = classifier_proj_size.

    It takes a series of one channel, the samples of the sound. Columns of kind audio give spectrograms,
    which it cannot read. Its features are the projected frames, averaged over all of the series.
    """

    name: Literal["wav2vec2"] = "wav2vec2"
    hidden_size: Hidden = 192
    """Values per frame, a multiple of the heads and of the groups below; the base network has 768."""
    num_hidden_layers: Layers = 4
    """Few, to be trained from nothing; the base network has 12. Not measured."""
    num_attention_heads: Heads = 3
    """64 values each, as published."""
    intermediate_size: Intermediate = 768
    """Four times the width, as published."""
    conv_dim: Annotated[tuple[Hidden, ...], Field(min_length=1, max_length=10)] = (128,) * 7
    """Channels of each convolution over the samples; published with 512."""
    conv_stride: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=10)
    ] = (5, 2, 2, 2, 2, 2, 2)
    """Their strides: together 320 samples a frame, 20 ms at 16 kHz. As published."""
    conv_kernel: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=10)
    ] = (10, 3, 3, 3, 3, 2, 2)
    """Their widths: a frame sees 400 samples. As published."""
    conv_bias: bool = False
    """As in the base network."""
    feat_extract_norm: Literal["group", "layer"] = "group"
    """`group`: the first convolution alone is normed, over time; `layer`: each, as in the large network."""
    feat_extract_activation: Activation = "gelu"
    """As published."""
    do_stable_layer_norm: bool = False
    """Norm before attention instead of behind it; as in the base network."""
    num_conv_pos_embeddings: Annotated[int, Field(ge=1, le=512)] = 128
    """Frames that the convolution for positions covers; as published."""
    num_conv_pos_embedding_groups: Annotated[int, Field(ge=1, le=256)] = 16
    """Its groups; as published."""
    hidden_act: Activation = "gelu"
    """As published."""
    layer_norm_eps: Epsilon = 1e-5
    """As published."""
    hidden_dropout: Share = 0.1
    """As published."""
    activation_dropout: Share = 0.1
    """As published."""
    attention_dropout: Share = 0.1
    """As published."""
    feat_proj_dropout: Share = 0.0
    """As published."""
    classifier_proj_size: Hidden = 256
    """Values per frame before the average; as published."""


class BertSpec(StrictModel):
    """BERT (Devlin et al. 2019) over token ids; padding is masked. D = hidden_size.

    Its features are the pooler's: the first token behind a tanh layer.
    """

    name: Literal["bert"] = "bert"
    hidden_size: Hidden = 128
    """Values per token, a multiple of the heads; BERT-Tiny's. The base network has 768."""
    num_hidden_layers: Layers = 2
    """BERT-Tiny's; the base network has 12."""
    num_attention_heads: Heads = 2
    """64 values each, as published."""
    intermediate_size: Intermediate = 512
    """Four times the width, as published."""
    vocab_size: Vocabulary | None = None
    """Rows of the embedding; null takes the tokeniser's number of tokens, more leave rows unused."""
    max_position_embeddings: Positions | None = None
    """Longest input, in tokens; null takes the column's length. Published with 512."""
    type_vocab_size: Annotated[int, Field(ge=1, le=16)] = 2
    """Segments of a text that can be told apart; only the first is used here. As published."""
    hidden_act: Activation = "gelu"
    """As published."""
    layer_norm_eps: Epsilon = 1e-12
    """As published."""
    hidden_dropout_prob: Share = 0.1
    """As published."""
    attention_probs_dropout_prob: Share = 0.1
    """As published."""
    classifier_dropout: Share | None = None
    """Share of features dropped before the classifier; null takes `hidden_dropout_prob`, as published."""


class DistilBertSpec(StrictModel):
    """DistilBERT (Sanh et al. 2019) over token ids; padding is masked. D = dim.

    Its features are the first token behind a ReLU layer.
    """

    name: Literal["distilbert"] = "distilbert"
    dim: Hidden = 128
    """Values per token, a multiple of the heads; as for `bert`. Published with 768."""
    n_layers: Layers = 2
    """As for `bert`; published with 6."""
    n_heads: Heads = 2
    """64 values each, as published."""
    hidden_dim: Intermediate = 512
    """Four times the width, as published."""
    vocab_size: Vocabulary | None = None
    """As for `bert`."""
    max_position_embeddings: Positions | None = None
    """As for `bert`."""
    activation: Activation = "gelu"
    """As published."""
    dropout: Share = 0.1
    """As published."""
    attention_dropout: Share = 0.1
    """As published."""
    seq_classif_dropout: Share = 0.2
    """Share of features dropped before the classifier; as published."""


HuggingFaceSpec = (
    MobileNetV2Spec | ResNetSpec | ConvNextSpec | ViTSpec | ASTSpec | Wav2Vec2Spec | BertSpec | DistilBertSpec
)
