from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import Settings
from worker.gpus import count_gpus, gpus_for_a_job


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, 3), ("", 0), ("0", 1), ("0,2", 2), ("0,-1,2", 1), ("GPU-1a,GPU-2b", 2), ("0,1,2,3,4", 3)],
)
def test_gpus_are_counted_as_cuda_would(tmp_path: Path, visible: str | None, expected: int) -> None:
    for number in range(3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    assert count_gpus(visible, tmp_path) == expected


def test_without_a_driver_there_are_none(tmp_path: Path) -> None:
    assert count_gpus("0,1", tmp_path / "absent") == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"device": "cpu"}, 0), ({"worker_gpus": 2, "device": "cpu"}, 2), ({"worker_gpus": 0}, 0)],
)
def test_what_is_stated_counts(settings: dict[str, object], expected: int) -> None:
    assert gpus_for_a_job(Settings(**settings)) == expected  # type: ignore[arg-type]
