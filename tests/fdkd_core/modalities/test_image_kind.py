import numpy as np
import pytest
from media_files import animated_png, gif, huge_png, jpeg, npy, png, png_chunk, png_header
from PIL import Image

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.options import OptionError

IMAGE = KINDS["image"]
RNG = np.random.default_rng(0)


def gray(height: int = 28, width: int = 28) -> np.ndarray:
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def color(height: int = 28, width: int = 28) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def resolve(*files, **options):
    return IMAGE.resolve(options, [IMAGE.inspect(file) for file in files])


def refusal_of(raw):
    """The code, which header inspection and decoding must agree on."""
    recipe = resolve(png(gray()))
    with pytest.raises(RowError) as decoding:
        IMAGE.decode(raw, recipe)
    return decoding.value.code


def test_grayscale_files_of_one_small_size_are_kept_as_they_are():
    pixels = gray()
    recipe = resolve(png(pixels), png(gray()))
    assert recipe["input_shape"] == [1, 28, 28]
    np.testing.assert_array_equal(IMAGE.decode(png(pixels), recipe), pixels[None])


def test_one_color_image_makes_the_column_color():
    recipe = resolve(png(gray()), png(color()))
    assert recipe["input_shape"] == [3, 28, 28]
    pixels = color()
    np.testing.assert_array_equal(IMAGE.decode(png(pixels), recipe), pixels.transpose(2, 0, 1))
    shade = gray()
    np.testing.assert_array_equal(IMAGE.decode(png(shade), recipe), np.stack([shade] * 3))


@pytest.mark.parametrize("shapes", [[(30, 30), (28, 28)], [(97, 97)], [(3, 40)], [(50, 2000)]])
def test_other_sizes_become_64_squares_with_the_reason(shapes):
    recipe = resolve(*[png(gray(*shape)) for shape in shapes])
    assert recipe["input_shape"] == [1, 64, 64]
    assert "resized to 64 x 64" in recipe["notes"][0]
    assert IMAGE.decode(png(gray(*shapes[0])), recipe).shape == (1, 64, 64)


def test_stated_size_and_channels():
    assert resolve(png(gray()), size=[16, 20], channels=3)["input_shape"] == [3, 16, 20]
    assert resolve(png(color()), size=32, channels=1)["input_shape"] == [1, 32, 32]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"colour": 3}, "/colour"),
        ({"channels": 2}, "/channels"),
        ({"size": 2}, "/size"),
        ({"size": "64"}, "/size"),
        ({"size": [8, 8, 8]}, "/size"),
    ],
)
def test_bad_options_name_their_field(options, field):
    with pytest.raises(OptionError) as error:
        resolve(png(gray()), **options)
    assert error.value.problems[0].pointer.startswith(field)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    recipe = resolve(png(stripes), size=16)
    inside = IMAGE.decode(png(stripes), recipe)[0, 2:-2, 2:-2]
    assert inside.min() > 110
    assert inside.max() < 145


def test_transparent_pixels_become_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4, 3] = 255
    decoded = IMAGE.decode(png(pixels), resolve(png(color(8, 8))))
    assert (decoded[:, :, :4] == 0).all()
    assert (decoded[:, :, 4:] == 255).all()


def test_sixteen_bit_grayscale_keeps_its_high_byte():
    deep = np.array([[0, 256, 65535, 32768]] * 4, np.uint16)
    np.testing.assert_array_equal(
        IMAGE.decode(png(deep), resolve(png(gray(4, 4))))[0, 0], np.array([0, 1, 255, 128])
    )


def test_photographs_are_turned_upright():
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    decoded = IMAGE.decode(jpeg(pixels, exif=exif), resolve(png(gray(16, 16))))
    assert decoded[0, :6].max() < 30
    assert decoded[0, 10:].min() > 225


@pytest.mark.parametrize("axes", [(28, 28), (28, 28, 1), (1, 28, 28), (28, 28, 3), (3, 28, 28)])
def test_arrays_in_every_usual_layout(axes):
    array = RNG.integers(0, 256, axes, dtype=np.uint8)
    channels = 3 if 3 in axes else 1
    recipe = resolve(array)
    assert recipe["input_shape"] == [channels, 28, 28]
    expected = array.transpose(2, 0, 1) if axes[-1] in (1, 3) else array.reshape(channels, 28, 28)
    for raw in (array, npy(array)):
        np.testing.assert_array_equal(IMAGE.decode(raw, recipe), expected)


@pytest.mark.parametrize("side", [20_000, 13_000])
def test_pixel_bombs_are_refused_from_the_header(side):
    bomb = huge_png(side)
    assert len(bomb) < 100_000
    with pytest.raises(RowError) as error:
        IMAGE.inspect(bomb)
    assert error.value.code == "image_too_large"
    assert refusal_of(bomb) == "image_too_large"


def test_a_second_header_cannot_smuggle_a_bomb_past_the_first():
    bomb = huge_png(9_000)  # 81 million pixels: below the number at which Pillow itself would warn
    assert refusal_of(bomb[:8] + png_header(8, 8) + bomb[8:]) == "image_too_large"


def test_only_the_plugin_of_the_checked_header_may_open_a_file(monkeypatch):
    seen = []
    open_image = Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, **options: seen.append(options) or open_image(file, **options)
    )
    for write in (png, jpeg):
        IMAGE.decode(write(gray()), resolve(png(gray())))
    assert seen == [{"formats": ("PNG",)}, {"formats": ("JPEG",)}]


def test_jpeg_of_65500_squared_is_refused_from_the_header():
    small = bytearray(jpeg(gray(8, 8)))
    frame = small.index(b"\xff\xc0")
    small[frame + 5 : frame + 9] = (65_500).to_bytes(2, "big") * 2
    assert refusal_of(bytes(small)) == "image_too_large"


@pytest.mark.parametrize("keep", [0.5, 0.9])
@pytest.mark.parametrize("write", [png, jpeg])
def test_truncated_files(write, keep):
    whole = write(color(64, 64))
    assert refusal_of(whole[: int(len(whole) * keep)]) == "truncated"


@pytest.mark.parametrize("length", [0, 5, 20, 40])
def test_files_cut_inside_the_header(length):
    assert refusal_of(png(gray())[:length]) in ("truncated", "unsupported_format")
    assert refusal_of(jpeg(gray())[:length]) in ("truncated", "unsupported_format")


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (animated_png(), "animated"),
        (gif(), "GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"just text", "just"),
        ("a string", "text"),
    ],
)
def test_other_formats_and_animations_are_refused_by_name(raw, found):
    with pytest.raises(RowError) as error:
        IMAGE.inspect(raw)
    assert error.value.code == "unsupported_format"
    assert found in error.value.detail
    assert refusal_of(raw) == "unsupported_format"


def test_broken_pixels():
    good = png(gray())
    start = good.index(b"IDAT") + 4
    assert refusal_of(good[:start] + bytes(len(good) - start)) in ("invalid_image", "truncated")


def test_zero_pixels_and_endless_chunks():
    assert refusal_of(b"\x89PNG\r\n\x1a\n" + png_header(0, 8) + png_chunk(b"IDAT", b"")) == "invalid_image"
    many = b"\x89PNG\r\n\x1a\n" + png_header(8, 8) + png_chunk(b"tEXt", b"a") * 5000
    assert refusal_of(many) == "invalid_image"


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((28, 28), np.float32), "invalid_values"),
        (np.zeros((28, 28, 4), np.uint8), "incompatible_shape"),
        (np.zeros((2, 3, 4, 5), np.uint8), "incompatible_shape"),
        (np.zeros((0, 28), np.uint8), "incompatible_shape"),
        (np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (10_000, 10_000), (0, 0)), "image_too_large"),
    ],
)
def test_bad_arrays(array, code):
    assert refusal_of(array) == code


def test_inputs_have_mean_0_and_deviation_1_on_training_values():
    decoded = RNG.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    recipe = IMAGE.fit(decoded, resolve(png(color(8, 8))))
    inputs = IMAGE.to_input(decoded, recipe)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=(0, 2, 3)), 1, atol=1e-5)
    naive = (decoded / 255 - np.reshape(recipe["mean"], (1, 3, 1, 1))) / np.reshape(
        recipe["std"], (1, 3, 1, 1)
    )
    np.testing.assert_allclose(inputs, naive, atol=1e-5)


def test_augmentation_only_shifts_and_changes_contrast():
    inputs = RNG.standard_normal((8, 1, 28, 28)).astype(np.float32)
    moved = IMAGE.augment(inputs, np.random.default_rng(0), "light", {})
    for before, after in zip(inputs[:, 0], moved[:, 0], strict=True):
        best = max(
            abs(
                np.corrcoef(after[4:-4, 4:-4].ravel(), np.roll(before, (dy, dx), (0, 1))[4:-4, 4:-4].ravel())[
                    0, 1
                ]
            )
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        )
        assert best > 0.999
