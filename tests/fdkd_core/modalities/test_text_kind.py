import json
import subprocess
import sys

import numpy as np
import pytest

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.options import OptionError
from fdkd_core.modalities.tokenizer import load_tokenizer, train_tokenizer

TEXT = KINDS["text"]
WORDS = [
    "the",
    "a",
    "movie",
    "film",
    "was",
    "is",
    "good",
    "bad",
    "great",
    "awful",
    "acting",
    "plot",
    "boring",
    "brilliant",
    "I",
    "really",
    "liked",
    "hated",
    "it",
]


def review(seed: int, words: int = 12) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def resolve(texts=None, **options):
    texts = [review(seed) for seed in range(200)] if texts is None else texts
    return TEXT.resolve(options, [TEXT.inspect(text) for text in texts])


def test_defaults():
    recipe = resolve()
    assert recipe["input_dtype"] == "int64"
    assert recipe["input_shape"] == [16]
    assert recipe["vocab_size"] <= 300
    ids = TEXT.decode("The movie was GREAT", recipe)
    assert (ids == TEXT.decode("the movie was great", recipe)).all()
    assert ids.shape == (16,)
    assert (ids[:4] > 1).all()
    assert (ids[4:] == 0).all()


def test_unknown_and_blank_texts_are_unknown_tokens_and_never_all_padding():
    recipe = resolve()
    for text in ("☃", "", "   ", "\x00\x01"):
        ids = TEXT.decode(text, recipe)
        assert ids[0] == 1, text
    assert 0 not in TEXT.decode("☃ movie " * 50, recipe)


def test_special_tokens_in_a_text_are_only_text():
    ids = TEXT.decode("[PAD] movie [PAD]", resolve())
    length = int((ids != 0).sum())
    assert length > 3
    assert (ids[:length] != 0).all()


def test_lengths():
    texts = [review(seed, 10) for seed in range(95)] + [review(seed, 400) for seed in range(5)]
    assert resolve(texts)["input_shape"][0] < 200
    assert resolve([review(0, 1000)] * 10)["input_shape"] == [256]
    assert resolve(max_length=20)["input_shape"] == [20]


def test_vocabulary_is_capped_by_option_and_by_the_amount_of_text():
    texts = [review(seed, 200) for seed in range(100)]
    assert resolve(texts, vocab_size=40)["vocab_size"] <= 40
    many_words = [f"word{seed} word{seed}" for seed in range(600)]
    assert resolve(many_words)["vocab_size"] <= 256


def test_training_gives_the_same_bytes_in_another_process():
    code = (
        "import sys; from fdkd_core.modalities.tokenizer import train_tokenizer; import hashlib;"
        "texts = sys.stdin.read().split('|');"
        "print(hashlib.sha256(train_tokenizer(texts, 120, lowercase=True).encode()).hexdigest())"
    )
    texts = "|".join(review(seed) + f" {seed * 7919}" for seed in range(300))
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], input=texts, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(hashes) == 1


def test_files_are_utf_8():
    recipe = resolve()
    expected = TEXT.decode("the movie", recipe)
    for raw in (b"the movie", b"\xef\xbb\xbfthe movie"):
        np.testing.assert_array_equal(TEXT.decode(raw, recipe), expected)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\xff\xfet\x00h\x00e\x00", "invalid_unicode"),
        ("half \ud800 pair", "invalid_unicode"),
        ("a" * ((1 << 20) + 1), "exceeds_limit"),
        ("\u20ac" * 400_000, "exceeds_limit"),
        (b"a" * ((1 << 20) + 1), "exceeds_limit"),
        (np.zeros(3), "unsupported_format"),
    ],
)
def test_bad_texts(raw, code):
    recipe = resolve()
    for use in (TEXT.inspect, lambda value: TEXT.decode(value, recipe)):
        with pytest.raises(RowError) as error:
            use(raw)
        assert error.value.code == code


def test_the_longest_text_is_read_only_as_far_as_needed():
    recipe = resolve()
    text = "the movie " * 100_000
    np.testing.assert_array_equal(TEXT.decode(text, recipe), TEXT.decode(text[:2000], recipe))


def test_augmentation_drops_tokens_and_never_padding():
    inputs = np.tile(np.array([5, 6, 7, 8, 0, 0]), (1000, 1))
    changed = TEXT.augment(inputs, np.random.default_rng(0), "strong", {"unknown_id": 1})
    assert changed.dtype == np.int64
    assert (changed[:, 4:] == 0).all()
    assert 0.12 < (changed[:, :4] == 1).mean() < 0.18
    assert set(np.unique(changed)) == {0, 1, 5, 6, 7, 8}


# Tokenisers from elsewhere


def tokenizer_json(**changes) -> dict:
    content = json.loads(train_tokenizer([review(seed) for seed in range(50)], 100, lowercase=True))
    content["model"] |= changes.pop("model", {})
    return content | changes


def test_our_own_tokeniser_loads():
    assert load_tokenizer(json.dumps(tokenizer_json())).encode("the movie").ids
    assert load_tokenizer(train_tokenizer(["The A"] * 5, 50, lowercase=False)).encode("The").tokens == ["The"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("x" * (100 << 20), "exceeds_limit"),
        (json.dumps(tokenizer_json(model={"merges": [["a", "b"]] * 100_001})), "exceeds_limit"),
        (json.dumps(tokenizer_json(model={"vocab": {f"{i}": i for i in range(100_001)}})), "exceeds_limit"),
        (
            json.dumps(tokenizer_json(model={"vocab": {"[PAD]": 0, "[UNK]": 1, "x" * 300: 2}, "merges": []})),
            "exceeds_limit",
        ),
        ("[" * 100_000, "invalid_tokenizer"),
        ("[]", "invalid_tokenizer"),
        ('{"model": {"vocab": [], "merges": []}}', "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"vocab": {"[PAD]": 0, "[UNK]": 7}})), "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"vocab": {"a": 0, "b": 1}, "merges": []})), "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"merges": [["zz", "yy"]]})), "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"merges": ["a b"]})), "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"type": "WordPiece"})), "invalid_tokenizer"),
        (json.dumps(tokenizer_json(model={"dropout": 0.5})), "not_allowed"),
        (
            json.dumps(
                tokenizer_json(
                    pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
                )
            ),
            "not_allowed",
        ),
        (
            json.dumps(
                tokenizer_json(normalizer={"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""})
            ),
            "not_allowed",
        ),
        (json.dumps(tokenizer_json(added_tokens=[{"id": 5, "content": "x"}])), "not_allowed"),
    ],
    ids=lambda value: value if len(value) < 30 else "content",
)
def test_hostile_tokenisers(content, code):
    with pytest.raises(OptionError) as error:
        load_tokenizer(content)
    assert error.value.problems[0].code == code
    assert len(str(error.value)) < 500
