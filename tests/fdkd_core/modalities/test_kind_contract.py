"""What every kind promises, checked on one small column each."""

import json
from typing import get_args

import numpy as np
import pytest
from media_files import png, sound

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.options import OptionError
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.spec.catalogue import KindName

RNG = np.random.default_rng(0)
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
]

RAW = {
    "image": [png(RNG.integers(0, 256, (28, 28), dtype=np.uint8)) for _ in range(8)],
    "depth": [png(RNG.integers(0, 9000, (20, 24), dtype=np.uint16)) for _ in range(8)],
    "audio": [sound(0.3 * RNG.standard_normal(samples)) for samples in RNG.integers(1000, 5000, 8)],
    "text": [" ".join(RNG.choice(WORDS, size)) for size in RNG.integers(3, 12, 8)],
    "series": [RNG.standard_normal((steps, 3)) for steps in RNG.integers(20, 50, 8)],
    "vector": [RNG.standard_normal(10) for _ in range(8)],
    "map": [RNG.standard_normal((3, 6, 5)) for _ in range(8)],
}


@pytest.fixture(params=sorted(RAW))
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def fitted(kind):
    """Decoded values and the fitted recipe."""
    raw = RAW[kind.name]
    recipe = kind.resolve({}, [kind.inspect(value) for value in raw])
    decoded = np.stack([kind.decode(value, recipe) for value in raw])
    return decoded, kind.fit(decoded, recipe)


def test_the_table_has_every_kind():
    assert set(KINDS) == set(get_args(KindName)) == set(RAW)
    assert all(kind.name == name for name, kind in KINDS.items())


def test_decoded_values_have_the_stated_shape_and_type(kind, fitted):
    decoded, recipe = fitted
    assert decoded.shape == (8, *recipe["input_shape"])
    assert decoded.dtype == kind.stored_dtype
    before = decoded.copy()
    inputs = kind.to_input(decoded, recipe)
    assert inputs.shape == decoded.shape
    assert inputs.dtype == recipe["input_dtype"]
    assert np.isfinite(inputs).all()
    np.testing.assert_array_equal(decoded, before)


def test_a_recipe_through_json_gives_the_same_bits_one_by_one_and_in_batches(kind, fitted):
    decoded, recipe = fitted
    expected = kind.to_input(decoded, recipe)
    text = json.dumps(recipe, allow_nan=False)
    loaded = Preprocessor.from_json(text)
    assert loaded.to_json() == recipe
    assert loaded.input_shape == tuple(recipe["input_shape"])
    assert loaded.input_dtype == expected.dtype
    assert loaded.prepare(RAW[kind.name]).tobytes() == expected.tobytes()
    for index, raw in enumerate(RAW[kind.name]):
        assert loaded.prepare([raw]).tobytes() == expected[index].tobytes()


def test_resolving_and_fitting_twice_gives_the_same_recipe(kind, fitted):
    decoded, recipe = fitted
    again = kind.resolve({}, [kind.inspect(value) for value in RAW[kind.name]])
    assert kind.fit(decoded, again) == recipe


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_augmentation_is_seeded_and_keeps_shape_type_and_its_argument(kind, fitted, strength):
    decoded, recipe = fitted
    inputs = kind.to_input(decoded, recipe)
    before = inputs.copy()
    first = kind.augment(inputs, np.random.default_rng(1), strength, recipe)
    again = kind.augment(inputs, np.random.default_rng(1), strength, recipe)
    other = kind.augment(inputs, np.random.default_rng(2), strength, recipe)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.tobytes() != before.tobytes()
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(inputs, before)


def test_augmentation_of_strength_none_changes_nothing_and_draws_nothing(kind, fitted):
    decoded, recipe = fitted
    inputs = kind.to_input(decoded, recipe)
    rng = np.random.default_rng(1)
    assert kind.augment(inputs, rng, "none", recipe) is inputs
    assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_a_batch_of_one_value_can_be_augmented(kind, fitted, strength):
    decoded, recipe = fitted
    inputs = kind.to_input(decoded[:1], recipe)
    assert kind.augment(inputs, np.random.default_rng(1), strength, recipe).shape == inputs.shape


def test_unknown_options_are_refused_by_name(kind):
    facts = [kind.inspect(value) for value in RAW[kind.name]]
    with pytest.raises(OptionError) as error:
        kind.resolve({"colour_space": "lab"}, facts)
    (problem,) = error.value.problems
    assert problem.code == "unknown_field"
    assert problem.pointer == "/colour_space"
    assert "allowed are" in problem.detail


def test_no_facts_at_all_is_an_option_error(kind):
    if kind.name == "image":
        with pytest.raises(OptionError):
            kind.resolve({}, [])
        return
    with pytest.raises(OptionError) as error:
        kind.resolve({}, [])
    assert error.value.problems[0].code == "missing_field"
