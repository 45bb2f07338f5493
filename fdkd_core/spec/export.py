"""In which forms a student is handed over."""

from __future__ import annotations

from fdkd_core.spec.strict import StrictModel


class ExportSpec(StrictModel):
    """Forms of the student's bundle beside its safetensors weights, which are always there."""

    onnx: bool = True
    """Also write model.onnx and compare it with the weights over the test split. On, since serving without
    torch is what most students are for; off saves the seconds it takes."""
