"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from fdkd_core.spec import ConstantSpec, PolySpec, ScheduleSpec


def learning_rate(schedule: ScheduleSpec, peak: float, step: int, total_steps: int) -> float:
    """Learning rate of one step.

    Args:
        schedule: Shape of the curve.
        peak: The optimiser's `lr`.
        step: From 0.
        total_steps: Steps of the whole run.

    References:
        poly: the authors' training script of FD-CMKD (power 0.9, per epoch down to 1e-4; here per step, and
        the floor is a share of the peak so that it keeps its meaning when lr is tuned).
    """
    warmup_steps = math.ceil(schedule.warmup_frac * total_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if isinstance(schedule, ConstantSpec):
        return peak
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if isinstance(schedule, PolySpec):
        share = math.pow(1.0 - done, schedule.power)
    else:
        share = 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (schedule.min_lr_frac + (1.0 - schedule.min_lr_frac) * share)
