"""Of what a job does by default, what its ONNX teacher can serve: only the report on the file tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fdkd_core.spec.catalogue import method_problems
from fdkd_core.spec.compare import CompareSpec
from fdkd_core.spec.frozen_teachers import is_onnx
from fdkd_core.spec.job import DistillSpec, TeachingSpec
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import AutoSpec, MethodSpec
from fdkd_core.spec.onnx_outputs import choose_outputs
from fdkd_core.spec.tasks import SegmentationSpec


def fit_defaults(spec: AnyJobSpec, teacher_report: Mapping[str, Any] | None) -> AnyJobSpec:
    """The job without methods and controls that nobody named and that its teacher cannot serve.

    A file has no untrained twin, and one that gives logits alone has no features. What somebody named stays,
    and is refused by `compatibility.check`.

    Args:
        spec: The job.
        teacher_report: On the model that `teacher.model` names; null where there is none.
    """
    if teacher_report is None or not is_onnx(teacher_report) or not isinstance(spec, TeachingSpec):
        return spec
    by_pixel = isinstance(spec.task, SegmentationSpec)
    _, features, problems = choose_outputs(spec.teacher.outputs, teacher_report["outputs"], by_pixel=by_pixel)
    if problems:  # which are told of the outputs
        return spec
    width = 0 if features is None else features["shape"][0]
    if isinstance(spec, CompareSpec):
        changes: dict[str, object] = {}
        if "methods" not in spec.model_fields_set:
            changes["methods"] = _fitting(spec.methods, width)
        if "fake_teachers" not in spec.model_fields_set:
            unfit = {"untrained_teacher"} if width else {"untrained_teacher", "permuted_channels"}
            changes["fake_teachers"] = tuple(fake for fake in spec.fake_teachers if fake not in unfit)
        return spec.model_copy(update=changes)
    if isinstance(spec, DistillSpec) and isinstance(spec.method, AutoSpec):
        if "methods" in spec.method.model_fields_set:
            return spec
        method = spec.method.model_copy(update={"methods": _fitting(spec.method.methods, width)})
        return spec.model_copy(update={"method": method})
    return spec


def _fitting(methods: tuple[MethodSpec, ...], width: int) -> tuple[MethodSpec, ...]:
    return tuple(method for method in methods if not method_problems(method, width))
