from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_data import MAKER

from fdkd_core.spec import DistillSpec, SegmentationSpec, parse_spec

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_folder_of_scenes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        assert MAKER["main"]([str(folder), "--scenes", "20", "--side", "16"]) == 0
        contents.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 12 + ["val"] * 3 + ["test"] * 5
    masks = np.stack([np.asarray(Image.open(folder / row["label"])) for row in rows])
    assert set(np.unique(masks)) == {0, 1, 2, MAKER["VOID"]}
    assert np.asarray(Image.open(folder / rows[0]["depth"])).dtype == np.uint16
    with pytest.raises(SystemExit):
        MAKER["main"]([str(folder)])  # is there already


def test_the_spec_beside_it_is_one() -> None:
    spec = parse_spec((EXAMPLES / "scenes.yaml").read_text())
    assert isinstance(spec, DistillSpec)
    assert spec.task == SegmentationSpec()
