from __future__ import annotations

import pytest

from fdkd_core.spec.measures import MEASURES


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        (0.8531, "0.853", "+0.853"),
        (-12.5, "-12.500", "-12.500"),
        (-0.0001, "-0.000", "+0.000"),
        (-2750463676894762.5, "-2.75e+15", "-2.75e+15"),
    ],
)
def test_decimals_have_three_places_unless_these_say_nothing(value: float, text: str, signed: str) -> None:
    assert MEASURES["r2"].text(value) == text
    assert MEASURES["r2"].signed_text(value) == signed


def test_what_is_said_of_a_difference_that_was_turned() -> None:
    assert MEASURES["mae"].turned == ", turned so that more is better"
    assert MEASURES["accuracy"].turned == ""
