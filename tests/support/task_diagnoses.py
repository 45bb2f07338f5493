"""Diagnoses of the tasks beside classification: planted data, and the same with a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from retrieval_data import retrieval_arrays, retrieval_spec, write_paired_vectors
from scene_data import scene_spec, write_scenes
from task_data import task_spec, write_task_data

from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import DiagnoseSpec, DistillSpec, load_spec
from fdkd_core.spec.findings import DiagnosisResult

Fault = Literal["none", "shifted", "noise"]
NOISE = {"retrieval": 1.0, "pair": 3.0}
OPTIONS = RunOptions(device="cpu", threads=1)


def as_diagnosis(spec: DistillSpec, **changes: Any) -> DiagnoseSpec:
    """A job as a diagnosis of it, with FD-CMKD as the method; keyword arguments replace fields."""
    document = spec.model_dump(mode="json", include=set(DiagnoseSpec.model_fields))
    fields = {"kind": "diagnose", "name": "planted", "method": {"name": "fd_cmkd"}, **changes}
    found = load_spec({**document, **fields})
    assert isinstance(found, DiagnoseSpec)
    return found


def write_planted(folder: Path, kind: str, fault: Fault = "none") -> Path:
    """Pairs whose teacher is clearly ahead: the data of the task with more noise in the student's view.

    Args:
        folder: Where to write.
        kind: The task; `pair` is the retrieval of vectors.
        fault: `shifted`: the teacher's column slipped by a row; `noise`: it shows nothing.
    """
    path = folder / f"{kind}-{fault}.npz"
    if kind == "segmentation":
        return write_faulty(path, dict(np.load(write_scenes(path, 320))), "colour", fault)
    if kind == "retrieval":
        arrays = retrieval_arrays(train=80, val=30)
    else:
        written = write_paired_vectors(path) if kind == "pair" else write_task_data(path, kind, rows=240)
        arrays = dict(np.load(written))
    rng = np.random.default_rng(1)
    if kind in NOISE:  # something of the row alone, in both views
        own = rng.normal(size=(len(arrays["label"]), 2))
        tones = np.stack([np.cos(2 * np.pi * k * np.arange(24) / 24) for k in (10, 11)])
        arrays["clean"] += (own @ rng.normal(size=(2, 10))).astype(np.float32)
        arrays["wave"] += 3.0 * (own @ tones)[:, :, None].astype(np.float32)
    arrays["wave"] += NOISE.get(kind, 2.5) * rng.normal(size=arrays["wave"].shape).astype(np.float32)
    return write_faulty(path, arrays, "clean", fault)


def write_faulty(path: Path, arrays: dict[str, Any], column: str, fault: Fault) -> Path:
    """Writes arrays as an .npz after a fault was made in the teacher's column."""
    rng = np.random.default_rng(2)
    if fault == "shifted":
        arrays[column] = np.roll(arrays[column], 1, axis=0)
    elif fault == "noise":
        arrays[column] = rng.permutation(arrays[column])
    np.savez(path, **arrays)
    return path


def planted_spec(kind: str) -> DistillSpec:
    """The job that is diagnosed."""
    if kind == "pair":
        return retrieval_spec({"kind": "retrieval", "relevant": "pair"})
    if kind == "segmentation":
        return scene_spec()
    return retrieval_spec() if kind == "retrieval" else task_spec(kind)


def diagnose_task(spec: DistillSpec, data: Path, out: Path, **changes: Any) -> DiagnosisResult:
    """Runs the diagnosis of a job."""
    result = run(as_diagnosis(spec, **changes), data, out, options=OPTIONS)
    assert isinstance(result, DiagnosisResult)
    return result


def diagnose_planted(kind: str, folder: Path, fault: Fault = "none", **changes: Any) -> DiagnosisResult:
    """Of what `write_planted` writes."""
    data = write_planted(folder, kind, fault)
    return diagnose_task(planted_spec(kind), data, folder / f"out-{fault}", **changes)


def said(result: DiagnosisResult) -> dict[str, str]:
    """What each rule made of it."""
    return {reason.rule: reason.speaks for reason in result.reasons}
