"""What a job asks of the machine that runs it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fdkd_core.spec.strict import StrictModel

MAX_PROCESSES = 16
"""GPUs of the largest machines that are sold as one."""


class ResourcesSpec(StrictModel):
    """What a job asks of the machine that runs it."""

    gpus: Annotated[int, Field(ge=1, le=MAX_PROCESSES)] = 1
    """GPUs of one machine that train each model together, a process for each: every batch is divided among
    them, and the result is that of one up to rounding. One, because small networks gain nothing: a step must
    take far longer than adding up its gradients. 1 is the CPU where there is no GPU."""
