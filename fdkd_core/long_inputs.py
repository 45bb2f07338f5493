"""How many rows of long inputs go through a network at a time where nothing is learnt from them.

What a training batch takes is counted before a job starts, and its size is the user's choice. Evaluation,
export and prediction have sizes of their own, made for inputs of thousands of steps: of a recording of 30 s
the first convolution of wav2vec 2.0 alone makes 200 MB, which 256 rows at a time would make 50 GB.
"""

from __future__ import annotations

from collections.abc import Sequence

LONG_STEPS = 65_536
"""Steps from which on inputs are long; up to them every size is what it always was, to the bit."""
_STEPS_AT_A_TIME = 1 << 21
"""Of all rows together: four of 30 s, with which wav2vec 2.0 base took 1.9 GB beside its weights (CPU)."""


def rows_at_a_time(usual: int, input_shape: Sequence[int]) -> int:
    """Rows of a batch that is not trained on, at least 1.

    Args:
        usual: What is taken of inputs that are not long.
        input_shape: Of one input: [channels, steps] of a waveform or series; others are never long.
    """
    if len(input_shape) != 2 or input_shape[1] <= LONG_STEPS:
        return usual
    return max(1, min(usual, _STEPS_AT_A_TIME // input_shape[1]))
