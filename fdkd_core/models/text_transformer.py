"""A small transformer encoder over token ids.

Shapes: B batch, L tokens, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.initial_weights import small_normal

PADDING_ID = 0


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and a GELU layer of four times the width."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, may_attend_B11L: Tensor) -> Tensor:
        """Args: x_BLD: Shape [B, L, D]. may_attend_B11L: True at keys that count; one per row at least."""
        tokens, width = x_BLD.shape[1:]
        # One axis per name: [B, L, 3, H, D/H] -> [3, B, H, L, D/H].
        qkv = self.query_key_value(self.norm1(x_BLD)).reshape(-1, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=may_attend_B11L,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        attended_BLD = attended.transpose(1, 2).reshape(-1, tokens, width)
        x_BLD = x_BLD + self.dropout(self.attended(attended_BLD))
        hidden_BLF = functional.gelu(self.expand(self.norm2(x_BLD)))
        out_BLD: Tensor = x_BLD + self.dropout(self.contract(hidden_BLF))
        return out_BLD


class TextTransformer(Backbone):
    """Pre-norm encoder with learned positions; features are the final norm averaged over tokens. D = width.

    Padding (id 0) is neither attended to nor averaged. A text without any token is read as one padding
    token, so that its features are finite.

    Args:
        vocab_size: Ids are in [0, vocab_size).
        max_tokens: Longest sequence L.
        num_classes: Classes, at least 1.
        width: Embedding size, a multiple of `heads`.
        depth: Encoder layers.
        heads: Attention heads.
        dropout: Share dropped in embeddings, attention, both residual branches and before the classifier.
    """

    input_dtype = torch.int64

    def __init__(
        self,
        vocab_size: int,
        max_tokens: int,
        num_classes: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_dim = width
        self.vocab_size = vocab_size
        self.tokens = nn.Parameter(torch.empty(vocab_size, width))
        self.positions = nn.Parameter(torch.empty(max_tokens, width))
        small_normal(self.tokens)
        small_normal(self.positions)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Args: inputs: Token ids, int64 [B, L], L at most `max_tokens`, padded with 0 at the end."""
        real_BL = inputs != PADDING_ID
        empty_B1 = ~real_BL.any(dim=1, keepdim=True)
        real_BL = torch.cat([real_BL[:, :1] | empty_B1, real_BL[:, 1:]], dim=1)
        x_BLD = self.dropout(functional.embedding(inputs, self.tokens) + self.positions[: inputs.shape[1]])
        may_attend_B11L = real_BL[:, None, None, :]
        for layer in self.layers:
            x_BLD = layer(x_BLD, may_attend_B11L)
        weight_BL1 = real_BL[:, :, None].to(x_BLD.dtype)
        features_BD = (self.norm(x_BLD) * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)
        return ModelOutput(features_BD, self.classifier(self.dropout(features_BD)))
