import numpy as np
import pytest
from media_files import npy

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError

VECTOR = KINDS["vector"]
RNG = np.random.default_rng(0)


def resolve(array, **options):
    return VECTOR.resolve(options, [VECTOR.inspect(array)])


def test_values_from_arrays_files_and_lists():
    array = RNG.standard_normal(7)
    recipe = resolve(array)
    assert recipe["input_shape"] == [7]
    for raw in (array, npy(array), array.tolist()):
        np.testing.assert_array_equal(VECTOR.decode(raw, recipe), array.astype(np.float32))


def test_each_feature_is_standardised_and_constants_are_0():
    decoded = (RNG.standard_normal((500, 4)) * [1, 1e-6, 1e6, 0] + [0, 1e-3, 1e7, 0.1]).astype(np.float32)
    recipe = VECTOR.fit(decoded, resolve(decoded[0]))
    inputs = VECTOR.to_input(decoded, recipe)
    np.testing.assert_allclose(inputs[:, :3].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(inputs[:, :3].std(axis=0), 1, atol=1e-3)
    assert (inputs[:, 3] == 0).all()
    assert recipe["std"][3] == 0
    assert "1 of 4 features" in recipe["notes"][0]
    assert (VECTOR.to_input(np.full((1, 4), 77, np.float32), recipe)[:, 3] == 0).all()


def test_heavy_tails_are_clipped_at_10_deviations():
    decoded = RNG.standard_normal((500, 2)).astype(np.float32)
    recipe = VECTOR.fit(decoded, resolve(decoded[0]))
    inputs = VECTOR.to_input(np.array([[1e30, -1e30]], np.float32), recipe)
    np.testing.assert_array_equal(inputs, [[10, -10]])
    assert VECTOR.to_input(np.full((1, 2), 9.0, np.float32), recipe).max() < 10


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (np.zeros(6), "incompatible_shape"),
        (np.zeros((7, 1)), "incompatible_shape"),
        (np.array([np.nan] * 7), "invalid_values"),
        (np.array([1e300] * 7), "invalid_values"),
        (np.array([None] * 7), "unsupported_format"),
    ],
)
def test_bad_vectors(raw, code):
    with pytest.raises(RowError) as error:
        VECTOR.decode(raw, resolve(np.zeros(7)))
    assert error.value.code == code


@pytest.mark.parametrize("shape", [(), (0,), (65_537,), (3, 3)])
def test_shapes_that_are_no_vector(shape):
    with pytest.raises(RowError) as error:
        VECTOR.inspect(np.zeros(shape))
    assert error.value.code == "incompatible_shape"


def test_augmentation_adds_noise_and_drops_features():
    inputs = np.ones((500, 20), np.float32)
    changed = VECTOR.augment(inputs, np.random.default_rng(0), "strong", {})
    assert 0.17 < (changed == 0).mean() < 0.23
    assert 0.08 < changed[changed != 0].std() < 0.12
