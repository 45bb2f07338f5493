import numpy as np
import pytest
from media_files import jpeg, npy, npy_claiming, png, sound, tone

from fdkd_core.modalities.inference import infer_kind
from fdkd_core.modalities.options import OptionError

GRAY = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (png(GRAY), "image"),
        (png(np.zeros((8, 8, 3), np.uint8)), "image"),
        (jpeg(GRAY), "image"),
        (png(GRAY.astype(np.uint16)), "depth"),
        (png(GRAY)[:10], "image"),
        (sound(tone(0.1)), "audio"),
        (sound(tone(0.1), container="FLAC"), "audio"),
        ("a text", "text"),
        (np.zeros(5), "vector"),
        (np.zeros((5, 3)), "series"),
        (np.zeros((8, 8), np.uint8), "image"),
        (np.zeros((8, 8, 3), np.uint8), "image"),
        (np.zeros((3, 8, 8), np.uint8), "image"),
        (npy(np.zeros(5)), "vector"),
        (npy(np.zeros((5, 3))), "series"),
        (npy(GRAY), "image"),
        (np.zeros((4, 8, 8), np.float16), "map"),
        (npy(np.zeros((2, 3, 4))), "map"),
    ],
)
def test_kind_of_one_value(raw, kind):
    found = infer_kind([raw], [None])
    assert found.kind == kind
    assert found.reason


def test_text_files_are_known_by_their_name():
    assert infer_kind([b"some words"], ["notes/1.TXT"]).kind == "text"


def test_a_bad_row_does_not_hide_the_kind_of_the_others():
    assert infer_kind([b"GIF89a", png(GRAY), png(GRAY)], [None] * 3).kind == "image"
    assert infer_kind([sound(tone(0.1)), *[png(GRAY)] * 3], [None] * 4).kind == "image"


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        ([], "unknown_kind"),
        ([b"some words"], "unknown_kind"),
        ([b"RIFF1234WEBP"], "unknown_kind"),
        ([np.zeros((2, 3, 4), np.int64)], "unknown_kind"),
        ([np.zeros((1, 8, 8))], "unknown_kind"),
        ([np.zeros((8, 8, 1))], "unknown_kind"),
        ([np.zeros((2, 3, 4, 5))], "unknown_kind"),
        ([np.array(3.0)], "unknown_kind"),
        ([npy_claiming("(4,)", "'|O'")], "unknown_kind"),
        ([png(GRAY), sound(tone(0.1))], "mixed_kinds"),
        ([png(GRAY), png(GRAY.astype(np.uint16))], "mixed_kinds"),
    ],
)
def test_columns_without_a_kind(samples, code):
    with pytest.raises(OptionError) as error:
        infer_kind(samples, [None] * len(samples))
    assert error.value.problems[0].code == code
