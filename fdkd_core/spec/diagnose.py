"""The kind `diagnose`: a look at data and teacher before any money is spent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.job import TeachingSpec
from fdkd_core.spec.methods import FDCMKDSpec, MethodSpec
from fdkd_core.spec.strict import Name


class DiagnoseSpec(TeachingSpec):
    """Ask a few hundred paired samples whether a transfer can be expected, and what it would cost."""

    kind: Literal["diagnose"]
    name: Name = "diagnosis"
    method: MethodSpec = FDCMKDSpec()
    """Whose training step is timed, and whose cutoff and basis split the teacher's feature; of a combination
    those of its FD-CMKD."""
    max_samples: Annotated[int, Field(ge=50, le=10_000)] = 600
    """Training rows that networks and probes learn from, and at most as many that similarity is measured
    over. Enough for a correlation of 0.1 to stand out of its null, few enough for a minute."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the sample, the folds and the random repeats; the networks have those of their trainings."""

    @property
    def methods_used(self) -> tuple[MethodSpec, ...]:
        """The one that is timed."""
        return (self.method,)
