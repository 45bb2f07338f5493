"""What the fields of a spec allow, as their own classes say it: a search must draw nothing else."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import NamedTuple

import annotated_types
from pydantic import BaseModel

DIGITS = 3
"""Significant ones of what is tried: nobody can tell more apart, and reports stay readable."""


class Bounds(NamedTuple):
    """The least and the largest value of a number."""

    low: float = -math.inf
    high: float = math.inf

    def clip(self, value: float) -> float:
        """The value, or the bound that it is beyond."""
        return min(max(value, self.low), self.high)


def bounds_of(spec: BaseModel, path: str) -> Bounds:
    """Of a field; where a bound is itself not allowed, the next number of three digits.

    Args:
        spec: What the field is in.
        path: Names and indexes with dots between them, such as `parts.0.weight`.
    """
    *parents, name = path.split(".")
    part = spec
    for parent in parents:
        part = part[int(parent)] if isinstance(part, tuple) else getattr(part, parent)
    low, high = Bounds()
    for rule in type(part).model_fields[name].metadata:
        match rule:
            case annotated_types.Ge(ge=float(bound)):
                low = max(low, bound)
            case annotated_types.Gt(gt=float(bound)):
                low = max(low, _next(bound, math.inf, ROUND_CEILING))
            case annotated_types.Le(le=float(bound)):
                high = min(high, bound)
            case annotated_types.Lt(lt=float(bound)):
                high = min(high, _next(bound, -math.inf, ROUND_FLOOR))
    return Bounds(low, high)


def rounded(value: float) -> float:
    """To what reports show."""
    return float(f"{value:.{DIGITS}g}")


def _next(bound: float, towards: float, rounding: str) -> float:
    exact = math.nextafter(bound, towards)
    return float(Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(exact))
