import numpy as np
import pytest
from media_files import npy

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.options import OptionError

SERIES = KINDS["series"]
RNG = np.random.default_rng(0)


def resolve(*arrays, **options):
    return SERIES.resolve(options, [SERIES.inspect(array) for array in arrays])


@pytest.mark.parametrize(
    ("shapes", "layout", "input_shape"),
    [
        ([(50, 3), (50, 3)], "time_channels", [3, 50]),
        ([(3, 50), (3, 50)], "channels_time", [3, 50]),
        ([(8, 64), (5, 64), (7, 64)], "time_channels", [64, 8]),
        ([(64, 8), (64, 5)], "channels_time", [64, 8]),
        ([(4, 4)], "time_channels", [4, 4]),
    ],
)
def test_layout_and_shape_are_inferred(shapes, layout, input_shape):
    recipe = resolve(*[np.zeros(shape) for shape in shapes])
    assert recipe["layout"] == layout
    assert recipe["input_shape"] == input_shape
    assert layout in recipe["notes"][0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int16, ">f4"])
def test_values_come_out_as_channels_by_time(dtype):
    array = (100 * RNG.standard_normal((50, 3))).astype(dtype)
    recipe = resolve(array)
    for raw in (array, npy(array), npy(np.asfortranarray(array)), array.tolist()):
        decoded = SERIES.decode(raw, recipe)
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded, array.T.astype(np.float32))


def test_chosen_channels_in_their_order():
    array = RNG.standard_normal((50, 3))
    recipe = resolve(array, channels=[2, 0])
    np.testing.assert_array_equal(SERIES.decode(array, recipe), array.T[[2, 0]].astype(np.float32))


def test_short_series_end_in_the_mean_and_padding_does_not_count():
    series = [RNG.standard_normal((steps, 2)) + 100 for steps in (30, 40, 50)]
    recipe = resolve(*series, length=40)
    decoded = np.stack([SERIES.decode(array, recipe) for array in series])
    recipe = SERIES.fit(decoded, recipe)
    kept = np.concatenate([array[:40] for array in series]).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(recipe["mean"], kept.mean(axis=0))
    np.testing.assert_allclose(recipe["std"], kept.std(axis=0))
    inputs = SERIES.to_input(decoded, recipe)
    assert (inputs[0, :, 30:] == 0).all()
    np.testing.assert_allclose(
        inputs[0, :, :30], (series[0].T - kept.mean(0)[:, None]) / kept.std(0)[:, None], atol=1e-4
    )


def test_95_percent_fit_and_the_length_is_bounded():
    recipe = resolve(*[np.zeros((50, 2))] * 39, np.zeros((5000, 2)))
    assert recipe["input_shape"] == [2, 50]
    assert resolve(np.zeros((9000, 2)))["input_shape"] == [2, 4096]


def test_glitches_are_clipped_and_constant_channels_are_0():
    decoded = RNG.standard_normal((100, 2, 10)).astype(np.float32)
    decoded[:, 1] = 3.3
    recipe = SERIES.fit(decoded, resolve(decoded[0]))
    probe = np.full((1, 2, 10), 1e30, np.float32)
    inputs = SERIES.to_input(probe, recipe)
    assert (inputs[:, 0] == 10).all()
    assert (inputs[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (np.full((50, 3), np.nan), "invalid_values"),
        (np.full((50, 3), np.inf), "invalid_values"),
        (np.full((50, 3), 1e300), "invalid_values"),
        (np.zeros((50, 4)), "incompatible_shape"),
        (np.zeros(50), "incompatible_shape"),
        (np.zeros((2, 50, 3)), "incompatible_shape"),
        (np.zeros((0, 3)), "incompatible_shape"),
        ([[1.0, 2.0], [3.0]], "invalid_array"),
        ("1, 2, 3", "unsupported_format"),
        (b"1,2,3", "unsupported_format"),
        (np.array([["a", "b"]] * 50), "unsupported_format"),
        (np.zeros((50, 3), complex), "unsupported_format"),
    ],
)
def test_bad_series(raw, code):
    with pytest.raises(RowError) as error:
        SERIES.decode(raw, resolve(np.zeros((50, 3))))
    assert error.value.code == code


def test_a_wrong_shape_says_what_was_found_and_what_is_allowed():
    with pytest.raises(RowError, match=r"\(50, 4\).*time_channels with 3 channels"):
        SERIES.decode(np.zeros((50, 4)), resolve(np.zeros((50, 3))))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"layout": "tc"}, "/layout"),
        ({"channels": [0, 3]}, "/channels"),
        ({"channels": [0, 0]}, "/channels"),
        ({"length": 10**9}, "/length"),
        ({"rate": 50}, "/rate"),
    ],
)
def test_bad_options_name_their_field(options, field):
    with pytest.raises(OptionError) as error:
        resolve(np.zeros((50, 3)), **options)
    assert error.value.problems[0].pointer == field


def test_too_many_channels_ask_for_the_other_layout():
    with pytest.raises(OptionError) as error:
        resolve(np.zeros((50, 2000)), layout="time_channels")
    assert error.value.problems[0].code == "exceeds_limit"
