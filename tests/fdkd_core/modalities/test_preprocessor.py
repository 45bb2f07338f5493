import json
import os

import numpy as np
import pytest
from media_files import png, sound, tone

from fdkd_core.errors import InputError, ModelFileError
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.preprocessor import Preprocessor

VECTOR = {
    "kind": "vector",
    "version": "vector-1",
    "input_shape": [3],
    "input_dtype": "float32",
    "clip": 10.0,
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "notes": [],
}


def recipe_of(kind: str, *raw, **options):
    resolved = KINDS[kind].resolve(options, [KINDS[kind].inspect(value) for value in raw])
    return KINDS[kind].fit(np.stack([KINDS[kind].decode(value, resolved) for value in raw]), resolved)


IMAGE = recipe_of("image", png(np.arange(64, dtype=np.uint8).reshape(8, 8)))
AUDIO = recipe_of("audio", sound(tone(0.2)))
SERIES = recipe_of("series", np.arange(20.0).reshape(10, 2))
TEXT = recipe_of("text", "the movie was good, the movie was bad")
DEPTH = recipe_of("depth", np.arange(64.0).reshape(8, 8))


def test_paths_lists_and_contents(tmp_path):
    content = png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    (tmp_path / "a.png").write_bytes(content)
    inputs = Preprocessor(IMAGE).prepare([content, tmp_path / "a.png", str(tmp_path / "a.png")])
    assert inputs.shape == (3, 1, 8, 8)
    assert (inputs == inputs[0]).all()
    np.testing.assert_array_equal(Preprocessor(VECTOR).prepare([[1.0, 2.0, 3.0]]), [[1, 2, 3]])


def test_a_string_is_the_text_itself_for_text_and_a_path_may_be_given(tmp_path):
    (tmp_path / "a.txt").write_text("the movie")
    inputs = Preprocessor(TEXT).prepare(["the movie", tmp_path / "a.txt"])
    assert (inputs[0] == inputs[1]).all()


def test_nothing_to_prepare():
    inputs = Preprocessor(IMAGE).prepare([])
    assert inputs.shape == (0, 1, 8, 8)
    assert inputs.dtype == np.float32


def test_bad_values_are_reported_together_with_their_numbers(tmp_path):
    values = [[1.0, 2.0, 3.0], [1.0], tmp_path / "absent.npy", [[1.0], [2.0, 3.0]], "no\x00path"]
    with pytest.raises(InputError) as error:
        Preprocessor(VECTOR).prepare(values + [[1.0]] * 20)
    problems = error.value.problems
    assert len(problems) == 10
    assert [(problem.row, problem.code) for problem in problems[:4]] == [
        (2, "incompatible_shape"),
        (3, "missing_file"),
        (4, "invalid_array"),
        (5, "missing_file"),
    ]


def test_files_beyond_the_limit_are_not_read(tmp_path):
    with (tmp_path / "large.npy").open("wb") as file:
        os.truncate(file.fileno(), (256 << 20) + 1)
    with pytest.raises(InputError) as error:
        Preprocessor(VECTOR).prepare([tmp_path / "large.npy"])
    assert error.value.problems[0].code == "exceeds_limit"


@pytest.mark.parametrize(
    ("recipe", "change", "code"),
    [
        (VECTOR, {"kind": "os.system"}, "not_allowed"),
        (VECTOR, {"kind": ["vector"]}, "not_allowed"),
        (VECTOR, {"version": "vector-2"}, "not_allowed"),
        (VECTOR, {"extra": 1}, "unknown_field"),
        (VECTOR, {"mean": None}, "wrong_type"),
        (VECTOR, {"mean": [0.0, 0.0]}, "incompatible"),
        (VECTOR, {"mean": [0.0, 0.0, float("nan")]}, "not_finite"),
        (VECTOR, {"std": [1.0, 1.0, -1.0]}, "out_of_range"),
        (VECTOR, {"clip": 0.0}, "out_of_range"),
        (VECTOR, {"input_shape": [10**9]}, "out_of_range"),
        (VECTOR, {"input_shape": [3, 1]}, "exceeds_limit"),
        (VECTOR, {"input_dtype": "object"}, "not_allowed"),
        (VECTOR, {"notes": ["x" * 1000]}, "exceeds_limit"),
        (IMAGE, {"input_shape": [1, 2048, 2048]}, "out_of_range"),
        (IMAGE, {"input_shape": [3, 8, 8]}, "incompatible"),
        (IMAGE, {"channels": 2}, "not_allowed"),
        (DEPTH, {"scale": 0.0}, "out_of_range"),
        (DEPTH, {"input_shape": [2, 8, 8]}, "incompatible"),
        (AUDIO, {"rate_hz": 10**9}, "out_of_range"),
        (AUDIO, {"window": 4096}, "incompatible"),
        (AUDIO, {"fmax_hz": 5000.0}, "incompatible"),
        (AUDIO, {"hop": 0}, "out_of_range"),
        (AUDIO, {"n_fft": 2**30}, "out_of_range"),
        (AUDIO, {"max_seconds": 1e9}, "out_of_range"),
        (AUDIO, {"input_shape": [1, 40, 10**6]}, "out_of_range"),
        (AUDIO, {"input_shape": [1, 41, 24]}, "incompatible"),
        (SERIES, {"channels": [0, 5]}, "incompatible"),
        (SERIES, {"channels": [0]}, "incompatible"),
        (SERIES, {"input_shape": [1024, 65_536], "channels": list(range(1024))}, "exceeds_limit"),
        (SERIES, {"input_shape": [35, 480_000], "channels": list(range(35))}, "exceeds_limit"),
        (SERIES, {"input_shape": [2, 480_001]}, "out_of_range"),
        (VECTOR, {"input_shape": [65_537]}, "out_of_range"),
        (TEXT, {"vocab_size": 5}, "incompatible"),
        (TEXT, {"tokenizer": "x" * (9 << 20)}, "exceeds_limit"),
        (TEXT, {"tokenizer": "{}"}, "invalid_tokenizer"),
        (TEXT, {"padding_id": 3}, "not_allowed"),
        (TEXT, {"input_shape": [100_000]}, "out_of_range"),
    ],
)
def test_recipes_from_elsewhere_are_bounded(recipe, change, code):
    Preprocessor(recipe)
    with pytest.raises(ModelFileError) as error:
        Preprocessor.from_json(recipe | change)
    assert code in {problem.code for problem in error.value.problems}
    assert len(str(error.value)) < 4000


@pytest.mark.parametrize("missing", ["kind", "version", "input_shape", "mean"])
def test_recipes_without_a_field(missing):
    with pytest.raises(ModelFileError):
        Preprocessor({name: value for name, value in VECTOR.items() if name != missing})


@pytest.mark.parametrize("content", ["", "[]", "null", "{", b"\xff", "[" * 100_000, "{}"])
def test_content_that_is_no_recipe(content):
    with pytest.raises(ModelFileError):
        Preprocessor.from_json(content)


def test_json_text_is_read(tmp_path):
    assert Preprocessor.from_json(json.dumps(VECTOR)).to_json() == VECTOR
