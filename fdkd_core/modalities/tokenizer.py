"""The subword tokeniser of text columns: trained here, kept as tokenizer.json, rebuilt from its vocabulary.

Byte-pair encoding without word markers. WordPiece, and BPE with an end-of-word suffix, gave another
vocabulary in every process (measured with tokenizers 0.23: ties are broken by hash order); plain BPE gave
the same bytes each time, which a resumed or repeated run needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from fdkd_core.errors import quote
from fdkd_core.modalities.vocabulary import MAX_TOKEN_CHARS, MAX_VOCAB, check_ids, refused
from fdkd_core.modalities.wordpiece import WORDPIECE, load_wordpiece

PADDING_ID, UNKNOWN_ID = 0, 1
SPECIAL_TOKENS = ["[PAD]", "[UNK]"]

MAX_JSON_CHARS = 8 << 20
"""tokenizer.json: 100,000 tokens with their merges take about 5 MB."""
MIN_FREQUENCY = 2
"""A pair seen once teaches nothing about other texts."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, lowercase: bool) -> str:
    """Trains on texts and returns tokenizer.json; the same texts in the same order give the same bytes.

    Args:
        texts: Training split only.
        vocab_size: Most tokens, the two special ones included.
        lowercase: Fold case, besides Unicode NFKC.
    """
    tokenizer = _build({}, [], lowercase=lowercase)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=SPECIAL_TOKENS,
        max_token_length=MAX_TOKEN_CHARS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # Rebuilt, because the trained one also finds "[PAD]" in texts and would make padding of it.
    return str(_build(model["vocab"], model["merges"], lowercase=lowercase).to_str())


@lru_cache(maxsize=8)
def load_tokenizer(content: str) -> Tokenizer:
    """Builds the tokeniser of a tokenizer.json of ours or of BERT's, which may have come with a model.

    Only the vocabulary and merges are taken from it, after checks; all else must be what
    `train_tokenizer` writes or what BERT has, so that no pattern or component of the sender's choice ever
    runs.

    Raises:
        OptionError: `exceeds_limit`, `not_allowed` or `invalid_tokenizer`.
    """
    if len(content) > MAX_JSON_CHARS:
        raise refused(
            "exceeds_limit", f"tokenizer.json has {len(content)} characters; at most {MAX_JSON_CHARS}"
        )
    try:
        parsed = json.loads(content)
        model = parsed["model"]
        vocab, merges = model["vocab"], model.get("merges", [])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise refused("invalid_tokenizer", "not a tokenizer.json with a BPE or WordPiece model") from None
    if model.get("type") == WORDPIECE:
        return load_wordpiece(parsed)
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise refused("invalid_tokenizer", "the vocabulary must be an object and the merges a list")
    if max(len(vocab), len(merges)) > MAX_VOCAB:
        raise refused(
            "exceeds_limit",
            f"found {len(vocab)} tokens and {len(merges)} merges; at most {MAX_VOCAB} of each",
        )
    _check_vocab(vocab, merges)
    for lowercase in (True, False):
        expected = json.loads(_build({}, [], lowercase=lowercase).to_str())
        if _without_words(parsed) == _without_words(expected):
            return _build(vocab, merges, lowercase=lowercase)
    raise refused(
        "not_allowed",
        "the tokeniser must be plain BPE with NFKC, optional lower case and the BERT pre-tokeniser, or "
        "BERT's WordPiece; other components and patterns are not run",
    )


def vocab_size(content: str) -> int:
    """Tokens of a tokenizer.json, padding and unknown included."""
    return int(load_tokenizer(content).get_vocab_size())


def unknown_id(content: str) -> int:
    """The id that stands for what the vocabulary lacks."""
    found = load_tokenizer(content).token_to_id(SPECIAL_TOKENS[UNKNOWN_ID])
    assert found is not None  # both kinds of tokeniser were checked for it
    return int(found)


def encode(content: str, text: str, length: int | None = None) -> list[int]:
    """Token ids of a text; never the padding id, and a single unknown for a text without tokens.

    Args:
        content: tokenizer.json.
        text: Any.
        length: Most ids; the end of a text is cut off, but not the [SEP] behind it, if the tokeniser has one.
    """
    tokenizer = load_tokenizer(content)
    ids = list(tokenizer.encode(text).ids) or [UNKNOWN_ID]
    if length is None or len(ids) <= length:
        return ids
    return ids[:length] if tokenizer.post_processor is None else [*ids[: length - 1], ids[-1]]


def _build(vocab: dict[str, int], merges: Iterable[Any], *, lowercase: bool) -> Tokenizer:
    pairs = [(first, second) for first, second in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs, unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    # Splits at white space and punctuation by character class: no regular expression is involved.
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _without_words(parsed: dict[str, Any]) -> dict[str, Any]:
    return parsed | {"model": {**parsed["model"], "vocab": None, "merges": None}}


def _check_vocab(vocab: dict[str, Any], merges: list[Any]) -> None:
    """Everything the library takes for granted: ids 0..n-1, and merges of known tokens."""
    check_ids(vocab)
    if [vocab.get(token) for token in SPECIAL_TOKENS] != [PADDING_ID, UNKNOWN_ID]:
        raise refused("invalid_tokenizer", "token 0 must be [PAD] and token 1 [UNK]")
    for merge in merges:
        is_pair = isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)
        if not is_pair or not {merge[0], merge[1], merge[0] + merge[1]} <= vocab.keys():
            raise refused("invalid_tokenizer", f"the merge {quote(merge)} is not a pair of known tokens")
