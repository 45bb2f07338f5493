"""Names of phases in words."""

from __future__ import annotations

import re

_WORDS = {
    "teacher": "training the teacher",
    "student": "training the student",
    "control": "training the control, the same student without a teacher",
    "finalise": "testing and writing the student",
    "pairing": "checking the pairs",
    "similarity": "comparing teacher and student",
    "probes": "probing both modalities",
    "speed": "timing training steps",
}
_PATTERNS = {
    r"teacher(\d+)": "training teacher {0}",
    r"trial-(\d+)": "trial {0}",
    r"seed-(\d+)": "final run {0}",
    r"rung0-(\d+)": "short training of configuration {0}",
    r"rung\d+-(\d+)": "longer training of number {0} of the better half",
    r"final0-(\d+)": "the tuned control, run {0}",
    r"final(\d+)-(\d+)": "finalist {0}, run {1}",
    r"fold0-(\d+)": "the tuned control without fold {0}",
    r"fold(\d+)-(\d+)": "finalist {0} without fold {1}",
}


def teacher_words(phase: str) -> str:
    """A teacher by the name of its phase, within a sentence: `the teacher`, `teacher 2`."""
    number = phase.removeprefix("teacher")
    return f"teacher {number}" if number.isdigit() else f"the {phase}"


def phase_words(phase: str, arms: dict[str, str] | None = None) -> str:
    """What a phase does, for people; a name that is not known stands for itself.

    Args:
        phase: As in events.
        arms: Labels of a comparison's arms by the prefix of their phases.
    """
    for prefix, label in (arms or {}).items():
        if phase.startswith(prefix):
            return f"{label}: {phase_words(phase.removeprefix(prefix))}"
    if phase in _WORDS:
        return _WORDS[phase]
    for pattern, words in _PATTERNS.items():
        found = re.fullmatch(pattern, phase)
        if found is not None:
            return words.format(*found.groups())
    return phase
