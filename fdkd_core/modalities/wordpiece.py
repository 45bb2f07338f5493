"""BERT's tokeniser: WordPiece between [CLS] and [SEP], rebuilt from its vocabulary and four switches."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fdkd_core.modalities.vocabulary import MAX_TOKEN_CHARS, MAX_VOCAB, check_ids, refused

WORDPIECE = "WordPiece"
_PADDING, _UNKNOWN, _BEGIN, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_SWITCHES = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")


def load_wordpiece(parsed: dict[str, Any]) -> Tokenizer:
    """Builds the tokeniser of a parsed tokenizer.json whose model is WordPiece.

    Tokens that were added beside the vocabulary are left out, so that "[SEP]" in a text is only text.

    Raises:
        OptionError: `exceeds_limit`, `not_allowed` or `invalid_tokenizer`.
    """
    model, vocab = parsed["model"], parsed["model"].get("vocab")
    if not isinstance(vocab, dict):
        raise refused("invalid_tokenizer", "the vocabulary must be an object")
    if len(vocab) > MAX_VOCAB:
        raise refused("exceeds_limit", f"found {len(vocab)} tokens; at most {MAX_VOCAB} are allowed")
    check_ids(vocab)
    if vocab.get(_PADDING) != 0 or not {_UNKNOWN, _BEGIN, _END} <= vocab.keys():
        detail = f"token 0 must be {_PADDING}, and {_UNKNOWN}, {_BEGIN} and {_END} must be there"
        raise refused("invalid_tokenizer", detail)
    longest = model.get("max_input_chars_per_word", 100)
    normalizer, before = parsed.get("normalizer") or {}, parsed.get("pre_tokenizer") or {}
    switches: dict[str, Any] = {name: normalizer.get(name) for name in _SWITCHES}
    is_bert = (
        model.get("unk_token") == _UNKNOWN
        and model.get("continuing_subword_prefix") == "##"
        and type(longest) is int
        and 1 <= longest <= MAX_TOKEN_CHARS
        and normalizer.get("type") == "BertNormalizer"
        and all(type(switches[name]) is bool for name in _SWITCHES if name != "strip_accents")
        and switches["strip_accents"] in (None, True, False)
        and before.get("type") == "BertPreTokenizer"
        and _frames(parsed.get("post_processor") or {})
    )  # fmt: skip
    if not is_bert:
        detail = "a WordPiece tokeniser must be BERT's, with its normaliser and [CLS] and [SEP] around a text"
        raise refused("not_allowed", detail)
    tokenizer = Tokenizer(
        models.WordPiece(
            vocab=vocab,
            unk_token=_UNKNOWN,
            continuing_subword_prefix="##",
            max_input_chars_per_word=longest,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(**switches)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing((_END, vocab[_END]), (_BEGIN, vocab[_BEGIN]))
    return tokenizer


def _frames(processor: Any) -> bool:
    """Whether a post-processor puts [CLS] before a text and [SEP] behind it."""
    if not isinstance(processor, dict):
        return False
    if processor.get("type") == "TemplateProcessing":
        parts = processor.get("single")
        return isinstance(parts, list) and [_name(part) for part in parts] == [_BEGIN, "A", _END]
    is_bert = processor.get("type") == "BertProcessing"
    return is_bert and (_first(processor.get("sep")), _first(processor.get("cls"))) == (_END, _BEGIN)


def _name(part: Any) -> Any:
    """Of a part of a template, such as `{"SpecialToken": {"id": "[CLS]", "type_id": 0}}`."""
    inner = next(iter(part.values()), None) if isinstance(part, dict) else None
    return inner.get("id") if isinstance(inner, dict) else None


def _first(pair: Any) -> Any:
    return pair[0] if isinstance(pair, list) and pair else None
