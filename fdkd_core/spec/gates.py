"""What a student must show before it is handed over."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.measures import MetricName
from fdkd_core.spec.strict import StrictModel


class GateSpec(StrictModel):
    """A margin by which the student is to be better than its control, on the test split."""

    metric: MetricName | None = None
    """What is compared. Null: the main figure of the task, of classification `accuracy`, which is what most
    people ask for; macro_f1 where classes are unequal."""
    min_uplift: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """Student minus control, as a fraction: 0.01 is a point. Of figures in units of the data (MAE, RMSE), by
    what share of the control's the student's is smaller. 0 asks that it be no worse; a negative margin lets
    it be a little worse, for the noise of a small test split."""
    significant: bool = False
    """Whether the difference must exceed the margin by half of its 95 % interval over the test split, so that
    it is not luck with these samples; over its groups where the data have such, of which one is too few. The
    spread over seeds is not in it. Off: small test splits would fail most students."""
    on_fail: Literal["warn", "fail"] = "warn"
    """`warn`: the job succeeds, and result and model card say that the gate was not passed. `fail`: the job
    fails with its figures, and no student is handed over."""
