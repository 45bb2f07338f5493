"""Frequency-decoupled cross-modal knowledge distillation.

Shape legend: B samples, D channels of the teacher's feature.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fdkd_core.bands import (
    MIN_ROWS,
    class_basis,
    dct_basis,
    num_low,
    pca_basis,
    random_basis,
    split_by_basis,
)
from fdkd_core.frequency import cutoff_bin, split_bands_of_both
from fdkd_core.losses.features import l2_normalize, log_squared_error, squared_error
from fdkd_core.methods.base import Method, MethodContext, StepViews, make_projector
from fdkd_core.spec import FDCMKDSpec


class BandClassifier(nn.Module):
    """Phi: ReLU, then Linear."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_classes)

    def forward(self, band_BD: Tensor) -> Tensor:
        """Logits of shape [B, classes]."""
        logits: Tensor = self.linear(functional.relu(band_BD))
        return logits


class BandBasis(nn.Module):
    """A split by an orthonormal basis instead of the channel FFT.

    Args:
        basis_DK: Orthonormal columns.
        centre_D: What is subtracted from a feature first; None for the mean over its channels.
        num_low: Columns of the low band.
    """

    basis: Tensor
    centre: Tensor

    def __init__(self, basis_DK: Tensor, centre_D: Tensor | None, num_low: int) -> None:
        super().__init__()
        self.is_teachers = centre_D is not None
        self.num_low = num_low
        # Made anew from the teacher in every attempt: no part of a checkpoint.
        self.register_buffer("basis", basis_DK, persistent=False)
        self.register_buffer("centre", centre_D, persistent=False)

    def forward(self, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high band, each [B, D]."""
        centre = self.centre if self.is_teachers else features_BD.float().mean(dim=1, keepdim=True)
        return split_by_basis(features_BD, self.basis, centre, num_low=self.num_low)


def make_basis(spec: FDCMKDSpec, context: MethodContext) -> BandBasis:
    """The basis that a spec names, for this teacher.

    Raises:
        ValueError: It is the teacher's own, and fewer than two training rows have a view of the teacher.
    """
    dim = context.teacher_dim
    low = num_low(dim, spec.cutoff)
    if spec.basis == "dct":
        return BandBasis(dct_basis(dim), None, low)
    if spec.basis == "random":
        return BandBasis(random_basis(dim, context.seed), None, low)
    assert context.teacher_outputs is not None
    features, labels = context.teacher_outputs.features.detach().float().cpu(), context.labels
    if context.paired is not None:
        # Those of the others are zeros, which the teacher never said.
        paired = context.paired.cpu()
        features, labels = features[paired], None if labels is None else labels[paired]
    is_only_checked = len(context.teacher_outputs.features) == 0
    if len(features) < MIN_ROWS and not is_only_checked:
        raise ValueError(
            f"the basis {spec.basis} is made from at least {MIN_ROWS} training rows with a view of the "
            f"teacher; found {len(features)}"
        )
    centre = torch.zeros(dim) if is_only_checked else features.mean(dim=0)
    if spec.basis == "pca":
        return BandBasis(pca_basis(features), centre, low)
    assert labels is not None
    return BandBasis(class_basis(features, labels), centre, low)


class FDCMKD(Method):
    """FD-CMKD: align the low band strongly and the high band loosely.

    total = L_task + low_weight * L_low + high_weight * L_high + align_weight * L_align
            + band_head_weight * L_heads

    L_low is the squared distance of the low bands, L_high logMSE of the high bands, both of bands divided by
    their norm; L_align trains one classifier per band on teacher and student bands alike; L_heads trains
    student-only classifiers of the student's bands; both by the task's own loss. Teacher features are
    constants.

    References:
        Liu et al., "Distilling Cross-Modal Knowledge via Feature Disentanglement", AAAI 2026, and the
        authors' training script (band heads). We differ in: sums over D instead of means (selectable), the
        scaling inside logMSE (`log_scale`), no gradient through all-zero bands.
    """

    def __init__(self, spec: FDCMKDSpec, context: MethodContext) -> None:
        super().__init__()
        if spec.split:
            cutoff_bin(context.teacher_dim, spec.cutoff)  # refuses one channel before training starts
        self.cutoff = spec.cutoff if spec.split else None
        self.basis = make_basis(spec, context) if spec.split and spec.basis != "fft" else None
        self.task = context.task
        self.scale = spec.scale
        self.high_distance = spec.high_distance
        self.log_scale = math.sqrt(context.teacher_dim) if spec.log_scale == "sqrt_dim" else spec.log_scale
        self.reduction = spec.reduction
        kind = "linear" if self.basis is not None and self.basis.is_teachers else spec.projector
        self.projector = make_projector(kind, context.student_dim, context.teacher_dim)
        if self.basis is not None and self.basis.is_teachers:
            assert isinstance(self.projector, nn.Linear)
            # Else all samples would begin on one side of the teacher's cloud, in nearly the same direction.
            with torch.no_grad():
                self.projector.bias.copy_(self.basis.centre)
        self.bands = ("low", "high") if spec.split else ("whole",)

        self.weights = {"low": spec.low_weight, "high": spec.high_weight} if spec.split else {}
        if not spec.split:
            self.weights["whole"] = spec.low_weight

        self.shared = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        if spec.shared_classifier:
            self.shared.update(
                {band: BandClassifier(context.teacher_dim, context.num_classes) for band in self.bands}
            )
            self.weights["align"] = spec.align_weight
        if spec.band_heads:
            self.heads.update(
                {band: BandClassifier(context.teacher_dim, context.num_classes) for band in self.bands}
            )
            self.weights["heads"] = spec.band_head_weight

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`low` and `high` (or `whole`), then `align` and `heads` where they are switched on."""
        assert views.teacher is not None
        student, teacher = self._split(self.projector(views.student.features), views.teacher.features)
        terms = {band: self._distance(band, student[band], teacher[band]) for band in self.bands}
        if self.shared:
            terms["align"] = sum_terms(
                self.task.loss(self.shared[band](side[band]), views.labels)
                for band in self.bands
                for side in (teacher, student)
            )
        if self.heads:
            terms["heads"] = sum_terms(
                self.task.loss(self.heads[band](student[band]), views.labels) for band in self.bands
            )
        return terms

    def _split(self, student_BD: Tensor, teacher_BD: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The bands of both by name."""
        if self.cutoff is None:
            student, teacher = {"whole": student_BD}, {"whole": teacher_BD}
        else:
            if self.basis is None:
                parts = split_bands_of_both(student_BD, teacher_BD, cutoff=self.cutoff)
            else:
                parts = self.basis(student_BD), self.basis(teacher_BD)
            student, teacher = (dict(zip(("low", "high"), bands, strict=True)) for bands in parts)
        return self._scaled(student), self._scaled(teacher)

    def _scaled(self, bands: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: l2_normalize(band) for name, band in bands.items()} if self.scale else bands

    def _distance(self, band: str, student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
        if band == "high" and self.high_distance == "log_mse":
            return log_squared_error(student_BD, teacher_BD, scale=self.log_scale, reduction=self.reduction)
        return squared_error(student_BD, teacher_BD, reduction=self.reduction)


def sum_terms(terms: Iterable[Tensor]) -> Tensor:
    """Adds per-sample terms; at least one."""
    return functools.reduce(operator.add, terms)
