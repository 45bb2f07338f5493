"""How the steps of a training were computed, and what that choice rests on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fdkd_core.spec.strict import StrictModel


class Execution(StrictModel):
    """How the network is run in training; evaluation is always in fp32 and not compiled."""

    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False
    channels_last: bool = False

    @property
    def words(self) -> str:
        """For people, such as `bf16, channels-last`."""
        parts: list[str] = [self.precision]
        parts += ["channels-last"] if self.channels_last else []
        parts += ["compiled"] if self.compiled else []
        return ", ".join(parts)


PLAIN = Execution()


class TimedExecution(StrictModel):
    """One way that was tried."""

    execution: Execution
    step_s: float | None
    """Median seconds of a step, without making its batch; null where it did not work."""


class ExecutionReport(StrictModel):
    """What was chosen, why, and what was measured."""

    chosen: Execution
    reason: str
    """One sentence."""
    measured: list[TimedExecution] = Field(default_factory=list)
    """The plain way first; empty where nothing was tried."""
    probe_s: float = 0.0
    """What finding out took."""
