"""Text: strings or UTF-8 files as a fixed number of token ids. 0 is padding, 1 an unknown token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.errors import Problem
from fdkd_core.modalities.base import (
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RecipeModel,
    RowError,
)
from fdkd_core.modalities.options import OptionError, parse, refusal
from fdkd_core.modalities.tokenizer import (
    MAX_JSON_CHARS,
    PADDING_ID,
    UNKNOWN_ID,
    encode,
    train_tokenizer,
    unknown_id,
    vocab_size,
)
from fdkd_core.modalities.vocabulary import MAX_VOCAB
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

Length = Annotated[int, Field(ge=4, le=4096)]

MAX_TEXT_BYTES = 1 << 20
"""UTF-8 bytes of one text; far more than the longest input reads."""
CHARS_PER_TOKEN = 100
"""Characters read per token of the input. Words average 6; the rest of a longer text could not reach the
input anyway, and tokenising 1 MiB takes seconds."""
DEFAULT_MAX_LENGTH = 256
"""Tokens; attention costs their square."""
LENGTH_MULTIPLE = 8
DEFAULT_VOCAB = 8000
WORDS_PER_TOKEN = 8
"""Training words per token of the vocabulary at least: an embedding seen less often learns little."""
MIN_VOCAB = 256
MAX_TRAINING_CHARS = 1 << 25
"""Characters the tokeniser is trained on: 32 million, about 20 s. Of more text every n-th is taken."""

DROPOUT = {"light": 0.05, "strong": 0.15}
"""Fraction of tokens replaced by the unknown token; BERT masks 0.15."""


class TextOptions(StrictModel):
    """Options of a text column."""

    vocab_size: Annotated[int, Field(ge=16, le=MAX_VOCAB)] = DEFAULT_VOCAB
    """Most tokens of the vocabulary; a small training split gets fewer."""
    max_length: Length | None = None
    """Tokens of an input, longer texts are cut; 95 % of the training texts fit when absent."""
    lowercase: bool = True
    """Fold case: fewer words to learn, at the loss of names and shouting."""


class TextRecipe(RecipeModel):
    """`preprocess.json` of a text."""

    kind: Literal["text"]
    version: Literal["text-1"]
    input_shape: Annotated[list[Length], Field(min_length=1, max_length=1)]
    input_dtype: Literal["int64"]
    vocab_size: Annotated[int, Field(ge=2, le=MAX_VOCAB)]
    padding_id: Literal[0]
    unknown_id: Annotated[int, Field(ge=1, lt=MAX_VOCAB)]
    """1 with our own tokenisers."""
    crop: Literal["start"]
    tokenizer: Annotated[str, Field(max_length=MAX_JSON_CHARS)]
    """The whole tokenizer.json."""

    def check(self) -> None:
        """The tokeniser is one that we rebuild, of the size it is said to have."""
        try:
            found, unknown = vocab_size(self.tokenizer), unknown_id(self.tokenizer)
        except OptionError as error:
            raise refusal(error.problems[0].code, f"tokenizer: {error.problems[0].detail}") from None
        if found != self.vocab_size:
            raise refusal(
                "incompatible", f"vocab_size is {self.vocab_size}, the tokenizer has {found} tokens"
            )
        if unknown != self.unknown_id:
            raise refusal("incompatible", f"unknown_id is {self.unknown_id}, the tokenizer's is {unknown}")


class TextKind:
    """Text."""

    name: KindName = "text"
    version = "text-1"
    is_native = False
    stored_dtype = np.dtype(np.int32)
    options_model = TextOptions
    recipe_model = TextRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """The text itself: the vocabulary is made of all of them."""
        return {"text": _read_text(raw)}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Trains the tokeniser and fixes the length."""
        stated = parse(TextOptions, options)
        if not facts:
            raise OptionError(Problem("missing_field", "no training text to learn a vocabulary from"))
        texts = [str(fact["text"]) for fact in facts]
        step = -(-sum(map(len, texts)) // MAX_TRAINING_CHARS)
        words = sum(len(text.split()) for text in texts)
        most_tokens = min(stated.vocab_size, max(MIN_VOCAB, words // WORDS_PER_TOKEN))
        tokenizer = train_tokenizer(texts[:: max(1, step)], most_tokens, lowercase=stated.lowercase)
        if stated.max_length is not None:
            length, why_length = stated.max_length, f"length: {stated.max_length} tokens, as stated"
        else:
            counts = [len(encode(tokenizer, text[: DEFAULT_MAX_LENGTH * CHARS_PER_TOKEN])) for text in texts]
            fitting = int(np.ceil(np.percentile(counts, 95)))
            length = min(DEFAULT_MAX_LENGTH, max(1, -(-fitting // LENGTH_MULTIPLE)) * LENGTH_MULTIPLE)
            why_length = f"length: {length} tokens; 95 % of the training texts have up to {fitting}"
        size = vocab_size(tokenizer)
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [length],
            "input_dtype": "int64",
            "vocab_size": size,
            "padding_id": PADDING_ID,
            "unknown_id": UNKNOWN_ID,
            "crop": "start",
            "tokenizer": tokenizer,
            "notes": [f"vocabulary: {size} tokens of at most {most_tokens}, from {words} words", why_length],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.int32]:
        """Token ids, cut at the end or filled up with padding."""
        (length,) = recipe["input_shape"]
        ids = encode(recipe["tokenizer"], _read_text(raw)[: length * CHARS_PER_TOKEN], length)
        decoded = np.full(length, PADDING_ID, np.int32)
        decoded[: len(ids)] = ids
        return decoded

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Token ids have no statistics."""
        return dict(recipe)

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.int64]:
        """The ids as int64, the type that embeddings want."""
        return decoded.astype(np.int64)

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Replaces random tokens by the unknown token; padding stays padding."""
        if strength == "none":
            return inputs
        dropped = (rng.random(inputs.shape) < DROPOUT[strength]) & (inputs != PADDING_ID)
        return np.where(dropped, recipe["unknown_id"], inputs)


def _read_text(raw: RawValue) -> str:
    if isinstance(raw, bytes):
        if len(raw) > MAX_TEXT_BYTES:
            raise RowError("exceeds_limit", f"the text has {len(raw)} bytes; at most {MAX_TEXT_BYTES}")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RowError("invalid_unicode", "the file is not UTF-8 text") from None
    if not isinstance(raw, str):
        raise RowError("unsupported_format", f"expected text, found {type(raw).__name__}")
    if len(raw) > MAX_TEXT_BYTES:
        raise RowError("exceeds_limit", f"the text has {len(raw)} characters; at most {MAX_TEXT_BYTES} bytes")
    try:
        size = len(raw.encode())
    except UnicodeEncodeError:
        raise RowError("invalid_unicode", "the text contains half of a surrogate pair") from None
    if size > MAX_TEXT_BYTES:
        raise RowError("exceeds_limit", f"the text has {size} bytes in UTF-8; at most {MAX_TEXT_BYTES}")
    return raw
