"""Contrastive distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.methods.base import DistillingSpec, Temperature, Weight


class CRDSpec(DistillingSpec):
    """CRD (Tian et al., ICLR 2020): tell the teacher's view of the same sample from its views of others.

    And the student's likewise, both against a memory of all training rows, which takes 8 * `embedding_dim`
    bytes a row (1 KiB) and is part of every checkpoint.
    """

    name: Literal["crd"] = "crd"
    weight: Weight = 0.8
    """Factor of the loss, the sum of both directions; 0.8 in the paper."""
    embedding_dim: Annotated[int, Field(ge=2, le=4096)] = 128
    """Numbers of an embedding; 128 in the paper."""
    temperature: Temperature = 0.07
    """Of the scalar products; 0.07 in the authors' code."""
    negatives: Annotated[int, Field(ge=1, le=1_000_000)] = 16_384
    """Remembered rows that a step looks at, the paper's number; all of them where there are fewer training
    rows. Cost per step grows with it."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Share of the old embedding when a row is remembered anew; 0.5 in the authors' code."""
    exclude_same_class: bool = True
    """Rows of the sample's own class are no negatives, as in the paper's runs with labels. Off, only the
    sample itself is none."""
