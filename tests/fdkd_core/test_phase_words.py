from __future__ import annotations

import pytest

from fdkd_core.phase_words import phase_words


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("student", "training the student"),
        ("trial-12", "trial 12"),
        ("seed-3", "final run 3"),
        ("rung1-7", "rung 1, configuration 7"),
        ("final0-2", "finalist 0, run 2"),
        ("arm1-seed-3", "logit_kd: final run 3"),
        ("arm12-trial-0", "dist: trial 0"),
        ("something-new", "something-new"),
    ],
)
def test_phases_in_words(phase: str, words: str) -> None:
    assert phase_words(phase, {"arm1-": "logit_kd", "arm12-": "dist"}) == words
