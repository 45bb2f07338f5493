"""The kinds of job: a union tagged by `kind`, run by `fdkd_core.run.RUNNERS`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.compare import CompareSpec
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.job import DistillSpec, TrainSpec
from fdkd_core.spec.study import StudySpec

AnyJobSpec = DistillSpec | TrainSpec | StudySpec | CompareSpec | DiagnoseSpec
JobKind = Literal["distill", "train", "study", "compare", "diagnose"]
JobSpec = Annotated[AnyJobSpec, Field(discriminator="kind")]
