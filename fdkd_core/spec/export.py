"""How a student is handed over, beside its weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fdkd_core.spec.strict import StrictModel


class ExportSpec(StrictModel):
    """Files that are made of a student for serving, and what is measured of them."""

    onnx: bool = True
    """Write `model.onnx` and compare it with the weights. On, for whoever serves without torch; it takes 2 to
    10 s."""
    int8: bool = True
    """Try eight-bit weights, in matrix products alone and everywhere, and keep the better one as
    `model.int8.onnx` where it is smaller or faster by a tenth and nowhere slower by a quarter. On: it adds
    about a second, and says what this student gains. Only with `onnx`."""
    max_accuracy_loss: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """What int8 may lose against `model.onnx` of the task's main figure on the validation split: accuracy,
    mAP or R2, as a fraction. A point, or a hundredth of the labels' variance: rounding alone costs less, and
    a network that loses more does not bear it. Of a figure that has a unit it is a share."""
    latency_s: Annotated[float, Field(ge=0.0, le=60.0)] = 2.0
    """Seconds, at most, for timing each model and each ONNX file on one CPU thread; small networks take a
    tenth of it. 0 measures no times, and int8 is then judged by its size alone."""
