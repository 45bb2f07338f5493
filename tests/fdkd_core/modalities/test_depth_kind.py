import numpy as np
import pytest
from media_files import huge_png, jpeg, npy, png

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError

DEPTH = KINDS["depth"]
RNG = np.random.default_rng(0)


def depth_map(height: int = 20, width: int = 24) -> np.ndarray:
    """Millimetres with a tenth of the pixels missing."""
    depth = RNG.integers(500, 9000, (height, width), dtype=np.uint16)
    depth[RNG.random(depth.shape) < 0.1] = 0
    return depth


def resolve(raw, **options):
    return DEPTH.resolve(options, [DEPTH.inspect(raw)])


@pytest.mark.parametrize(
    "as_raw", [png, npy, lambda depth: depth, lambda depth: depth[None].astype(np.float64)]
)
def test_values_are_metres_by_scale(as_raw):
    depth = depth_map()
    recipe = resolve(as_raw(depth), scale=0.001)
    assert recipe["input_shape"] == [1, 20, 24]
    decoded = DEPTH.decode(as_raw(depth), recipe)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded[0], depth / 1000, rtol=1e-6)


def test_missing_stays_0_and_does_not_count():
    decoded = np.stack([depth_map() for _ in range(5)])[:, None].astype(np.float32)
    recipe = DEPTH.fit(decoded, resolve(depth_map()))
    measured = decoded[decoded > 0].astype(np.float64)
    np.testing.assert_allclose(recipe["mean"], measured.mean())
    np.testing.assert_allclose(recipe["std"], measured.std())
    inputs = DEPTH.to_input(decoded, recipe)
    assert (inputs[decoded == 0] == 0).all()
    np.testing.assert_allclose(inputs[decoded > 0].std(), 1, rtol=1e-4)


def test_resizing_takes_nearest_pixels_and_mixes_nothing():
    depth = depth_map(200, 300)
    recipe = resolve(depth)
    assert recipe["input_shape"] == [1, 64, 64]
    assert set(DEPTH.decode(depth, recipe).ravel()) <= set(depth.ravel().astype(np.float32))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (np.array([[1.0, np.nan]] * 4), "invalid_values"),
        (np.array([[1.0, np.inf]] * 4), "invalid_values"),
        (np.array([[1.0, -1.0]] * 4), "invalid_values"),
        (np.zeros((3, 8, 8)), "incompatible_shape"),
        (np.zeros(8), "incompatible_shape"),
        (jpeg(np.zeros((8, 8), np.uint8)), "unsupported_format"),
        (png(np.zeros((8, 8, 3), np.uint8)), "unsupported_format"),
        (huge_png(13_000), "image_too_large"),
        (png(depth_map(64, 64))[:-300], "truncated"),
    ],
)
def test_bad_values(raw, code):
    with pytest.raises(RowError) as error:
        DEPTH.decode(raw, resolve(depth_map()))
    assert error.value.code == code


def test_augmentation_keeps_missing_pixels_missing():
    inputs = np.zeros((4, 1, 20, 24), np.float32)
    inputs[:, :, 10:, :] = 1.0
    moved = DEPTH.augment(inputs, np.random.default_rng(0), "strong", {})
    assert (moved == 0).mean() > 0.3
    assert len(np.unique(moved)) == 5
