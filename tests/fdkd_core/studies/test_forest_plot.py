from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_samples import compare_spec, model_result, study_result

from fdkd_core.spec.result import CompareResult
from fdkd_core.studies.conclusion import Outcome, conclude
from fdkd_core.studies.forest_plot import axis_label, render_forest_plot

STARTS = {"png": b"\x89PNG", "svg": b"<?xml"}


def result(name: str = "plot", *, control_fails: bool = False) -> CompareResult:
    spec = compare_spec(name=name)
    values = {
        "no_teacher": [0.80, 0.81, 0.79],
        "logit_kd": [0.84, 0.86, 0.83],
        "fd_cmkd": [0.75, 0.77, 0.74],
        "fd_cmkd shuffled_pairs": [0.80, 0.80, 0.80],
    }
    outcomes: dict[str, Outcome] = {label: study_result(label, spec, v) for label, v in values.items()}
    if control_fails:
        outcomes["no_teacher"] = "failed"
    return conclude(
        spec, outcomes, model_result(0.9), identity={"spec": "1" * 64, "data": "2" * 64}, seconds=1.0
    )


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_results_give_equal_files(kind: str) -> None:
    first = render_forest_plot(result(), kind)
    assert first == render_forest_plot(result(), kind)
    assert first.startswith(STARTS[kind])
    assert first != render_forest_plot(result("another name"), kind)


@pytest.mark.parametrize("name", ["$\\frac{1}{0}$ <b>&", "测试 🙂", "x" * 128, "^_{}"])
def test_any_name_can_be_drawn(name: str) -> None:
    assert render_forest_plot(result(name), "svg").startswith(STARTS["svg"])


def test_no_interval_is_announced_where_there_is_none() -> None:
    assert axis_label(result()).endswith("without a teacher, points (95 % interval over seeds)")
    both = result().model_copy(update={"intervals": "seeds and test rows"})
    assert axis_label(both).endswith("points (95 % interval over seeds and test rows)")
    one = result()
    arms = [arm.model_copy(update={"runs": arm.runs[:1]}) for arm in one.arms]
    assert axis_label(one.model_copy(update={"arms": arms})).endswith(", points (one seed)")


def test_the_label_of_errors_is_not_cut_off() -> None:
    """By its ink: of the last rows of pixels above the edge of the picture, the outer columns are blank."""
    errors = result().model_copy(update={"metric": "rmse"})
    assert "turned so that more is better" in axis_label(errors)
    picture = np.asarray(Image.open(BytesIO(render_forest_plot(errors, "png"))).convert("L"))
    label = picture[-60:]
    assert label.min() < 128
    assert label[:, :8].min() == 255
    assert label[:, -8:].min() == 255


def test_nothing_to_show_is_drawn_too() -> None:
    found = result(control_fails=True)
    assert not any(arm.difference for arm in found.arms)
    assert render_forest_plot(found, "png").startswith(STARTS["png"])


def test_drawing_leaves_no_traces_and_is_imported_when_needed() -> None:
    """No pyplot, no changed settings; and a job without a plot does not pay for matplotlib."""
    script = (
        "import sys, fdkd_core.run\n"
        "assert not {'matplotlib', 'optuna', 'scipy'} & {name.split('.')[0] for name in sys.modules}\n"
        "import matplotlib\n"
        "from test_forest_plot import result\n"
        "from fdkd_core.studies.forest_plot import render_forest_plot\n"
        "render_forest_plot(result(), 'png')\n"
        "assert matplotlib.rcParams['svg.hashsalt'] is None\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    here = Path(__file__).parent
    path = [str(here), str(here.parents[1] / "support")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += {path!r}\n{script}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
