"""No distillation."""

from __future__ import annotations

from typing import Literal

from fdkd_core.spec.strict import StrictModel


class NoneSpec(StrictModel):
    """No teacher: the student learns from the labels alone. This is also what the control runs."""

    name: Literal["none"] = "none"
