"""Diagnoses of the small job, and findings without a fault for what judges them."""

from __future__ import annotations

import json
from typing import Any

from small_job import small_spec

from fdkd_core.spec import DiagnoseSpec, load_spec
from fdkd_core.spec.findings import Findings

NULL = {"mean": 0.0, "low": -0.01, "high": 0.01}


def small_diagnosis(**changes: Any) -> DiagnoseSpec:
    """The small job as a diagnosis; keyword arguments replace top-level fields."""
    document = small_spec().model_dump(mode="json", include=set(DiagnoseSpec.model_fields))
    spec = load_spec({**document, "kind": "diagnose", "name": "small diagnosis", **changes})
    assert isinstance(spec, DiagnoseSpec)
    return spec


def similarity(band: str, *, shared: bool = True, within: bool = True, value: float = 0.3) -> dict[str, Any]:
    """One measure of the findings."""
    return {
        "band": band,
        "view": "inputs",
        "measure": "r2",
        "value": value,
        "shuffled": NULL,
        "shuffled_within_class": NULL,
        "other_channel_orders": None if band == "whole" else {"mean": 0.2, "low": 0.1, "high": 0.25},
        "is_above_shuffled": shared,
        "is_above_within_class": within,
    }


def good_findings(**changes: dict[str, Any]) -> Findings:
    """Findings that speak for a transfer; keyword arguments replace fields of sections."""
    repeats = {
        "rows": 500, "teacher_samples": 0, "teacher_rows": 0, "most_students": 1,
        "student_samples": 0, "student_rows": 0, "most_teachers": 1, "repeated_pairs": 0,
    }  # fmt: skip
    scan = {"rows": 300, "fit": 0.4, "shuffled": NULL, "shuffled_within_class": None, "best_shift": 0}
    shifts = [
        {"shift": 1, "rows": 290, "fit": 0.5, "gain": 0.1, "standard_error": 0.01, "is_better": True},
        {"shift": 2, "rows": 280, "fit": 0.1, "gain": -0.3, "standard_error": 0.01, "is_better": False},
    ]
    network = {"why": "", "epochs": 30, "steps": 300, "accuracy": 0.9, "macro_f1": 0.9, "how": "trained"}
    document: dict[str, Any] = {
        "sample": {
            "fit_rows": 600, "held_out_rows": 600, "measured_rows": 600, "val_rows": 1000,
            "test_rows": 10_000, "train_rows": 9000,
        },
        "pairing": {
            "blank_rows": {"teacher": 0, "student": 0},
            "contradicting_rows": {"teacher": 0, "student": 0},
            "repeats": [{"split": split, **repeats} for split in ("train", "val", "test")],
            "leaks": [],
            "alignment": [
                {"what": what, **scan, "shifts": shifts}
                for what in ("teacher_from_student", "label_from_teacher", "label_from_student")
            ],
        },
        "networks": [{"part": part, "modality": part, **network} for part in ("teacher", "student")],
        "similarity": {
            "cutoff": 0.5, "basis": "fft", "teacher_dim": 64, "student_dim": 64, "repeats": 100,
            "band_energy": {"low": 0.5, "high": 0.5, "whole": 1.0}, "mean_energy": 0.7,
            "measures": [similarity(band) for band in ("low", "high", "whole")],
        },
        "headroom": {
            "metric": "accuracy", "chance": 0.1, "probes": [], "teacher": 0.9, "student": 0.5, "gap": 0.4,
            "teacher_error": 0.009,
            "standard_error": 0.02, "test_rows": 10_000, "expected_gain": 0.04, "detectable_gain": 0.014,
        },
        "speed": {
            "steps": [], "method_overhead": 1.2, "memory": "process", "peak_bytes": 1, "growth_bytes": 1,
            "estimate": [], "total_s": 0.0,
        },
    }  # fmt: skip
    for section, fields in changes.items():
        document[section] = {**document[section], **fields}
    return Findings.model_validate_json(json.dumps(document))
