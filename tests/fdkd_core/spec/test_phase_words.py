from __future__ import annotations

import pytest

from fdkd_core.spec.phase_words import phase_words


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("student", "training the student"),
        ("teacher", "training the teacher"),
        ("teacher2", "training teacher 2"),
        ("trial-12", "trial 12"),
        ("seed-3", "final run 3"),
        ("rung0-7", "short training of configuration 7"),
        ("rung1-7", "longer training of number 7 of the better half"),
        ("final0-2", "the tuned control, run 2"),
        ("final1-2", "finalist 1, run 2"),
        ("fold0-5", "the tuned control without fold 5"),
        ("fold2-5", "finalist 2 without fold 5"),
        ("arm1-seed-3", "logit_kd: final run 3"),
        ("arm12-trial-0", "dist: trial 0"),
        ("something-new", "something-new"),
    ],
)
def test_phases_in_words(phase: str, words: str) -> None:
    assert phase_words(phase, {"arm1-": "logit_kd", "arm12-": "dist"}) == words
