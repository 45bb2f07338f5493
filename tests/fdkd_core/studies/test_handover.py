"""What the card of a study's student says of how it was chosen."""

from __future__ import annotations

import pytest
from study_samples import compare_spec, study_result

from fdkd_core.spec.compare import arms
from fdkd_core.studies.handover import study_card


@pytest.mark.parametrize(
    ("label", "test", "words"),
    [
        ("fd_cmkd", [0.8, 0.9, 0.85], "trained anew with 3 seeds; this is the run with seed 2, the best of"),
        ("fd_cmkd", [0.8], "Its only trial has "),
        ("fd_cmkd", [0.8], "trained anew with one seed, 1. Its test accuracy is 80.0 %; one run does not"),
        ("fd_cmkd shuffled_pairs", [0.8], "with fd_cmkd and shuffled pairs instead of the real teacher"),
        ("no_teacher", [0.8], "Trained without a teacher."),
    ],
)
def test_how_it_was_chosen(label: str, test: list[float], words: str) -> None:
    spec = compare_spec()
    card = study_card(arms(spec, None)[label], study_result(label, spec, test), data_report={}, identity={})
    assert words in card.chosen
    assert " 1 seeds" not in card.chosen
    assert " 1 trials" not in card.chosen
