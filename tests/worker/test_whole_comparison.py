"""A comparison with the real trainer, from its rows to its report."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from small_job import small_spec
from worker_process import REAL, running
from worker_rig import Rig

from fdkd_core.spec.result import CompareResult, StudyResult

ARMS = ["no_teacher", "fd_cmkd", "fd_cmkd shuffled_pairs"]


@pytest.mark.slow
def test_a_comparison_from_rows_to_report(rig: Rig, small_data: Path) -> None:
    training = small_spec().training.model_dump(mode="json") | {"epochs": 1}
    parent_id = rig.add_compare(
        rig.add_dataset(small_data),
        methods=[{"name": "fd_cmkd"}],
        fake_teachers=["shuffled_pairs"],
        training=training,
        tuning={"trials": 1},
        seeds=2,
    )
    with running(rig.start_worker(REAL)), running(rig.start_worker(REAL)):
        parent = rig.wait_for_end(parent_id, "succeeded", timeout_s=240)
    result = CompareResult.model_validate(parent.result)
    assert [arm.label for arm in result.arms] == ARMS
    children = rig.children(parent_id)
    for arm in result.arms:
        study = StudyResult.model_validate(children[arm.label].result)
        assert [run.model_dump() for run in arm.runs] == [run.model_dump() for run in study.runs]
        assert len(arm.runs) == 2
        assert (arm.difference is None) == (arm.label == "no_teacher")
        assert set(rig.models(children[arm.label].id)) == {"student"}
    assert result.intervals == "seeds and test rows"
    assert result.summary
    assert result.teacher is not None
    teacher = rig.models(children["teacher"].id)["student"]
    assert result.teacher.weights_sha256 == teacher.sha256
    assert result.teacher.seconds > 0, "as the job that trained it knows"
    # One said what the teacher makes of the data, the others read it.
    cached = list(rig.context.settings.teacher_cache_dir.iterdir())
    assert len(cached) == 1
    names = set(rig.artifacts(parent_id))
    assert {f"report/comparison.{kind}" for kind in ("csv", "md", "png", "svg")} <= names
    rows = list(csv.DictReader(io.StringIO(rig.read_artifact(parent_id, "report/comparison.csv").decode())))
    assert {row["method"] for row in rows} >= {"no_teacher", "fd_cmkd"}
