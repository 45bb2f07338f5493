"""The kind `study`: tune one method, then train it with fresh seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.job import MethodJobSpec
from fdkd_core.spec.methods import FDCMKDSpec, MethodSpec
from fdkd_core.spec.strict import Name
from fdkd_core.spec.tuning import TuningSpec

TeacherView = Literal["paired", "shuffled_pairs", "permuted_channels", "untrained_teacher"]
"""What a method is shown of the teacher. `paired` is the real thing; the others are controls, which look like
a teacher and know less: the outputs of another row's sample, the feature's channels in another (fixed) order,
and a network of the same architecture that was never trained."""

Seeds = Annotated[int, Field(ge=1, le=50)]


class StudySpec(MethodJobSpec):
    """Tune one method on validation, then train it anew with seeds that tuning did not see.

    `training.seed` is that of the trials; the final runs have the seeds after it. The test split is read once
    per final run.
    """

    kind: Literal["study"]
    name: Name = "study"
    method: MethodSpec = FDCMKDSpec()
    """Where the search begins."""
    teacher_view: TeacherView = "paired"
    """What the method is shown: the real thing, unless this study is a control."""
    tuning: TuningSpec = TuningSpec()
    """How the method is tuned before the final runs."""
    seeds: Seeds = 3
    """Final runs. Three give an interval, if a wide one; five are better."""

    @property
    def methods_used(self) -> tuple[MethodSpec, ...]:
        """The one method."""
        return (self.method,)
