"""What is written into the plots of a diagnosis; that they are drawn is seen in `test_diagnose`."""

from __future__ import annotations

import pytest
from diagnosed import good_findings, similarity
from matplotlib.figure import Figure

from fdkd_core.diagnosis.plots import draw_headroom, draw_similarity, draw_value
from fdkd_core.spec.findings import Similarity


@pytest.mark.parametrize(("value", "text"), [(0.1113, "0.111"), (0.07, "0.070"), (-0.0001, "0.000")])
def test_values_beside_each_other_have_the_same_places(value: float, text: str) -> None:
    axes = Figure().subplots()
    draw_value(axes, 0, Similarity.model_validate(similarity("whole", value=value)))
    assert [label.get_text() for label in axes.texts] == [text]


def test_hollow_marks_are_explained_where_there_are_some() -> None:
    below = similarity("whole", shared=False)
    measures = [below, {**similarity("whole"), "measure": "cka"}]
    figure = Figure()
    draw_similarity(figure, good_findings(similarity={"measures": measures}))
    assert [axes.get_xlabel() for axes in figure.axes] == ["hollow: not above shuffled pairs", ""]


def test_an_r2_below_0_is_not_written_over_the_names() -> None:
    probes = [{"part": "student", "view": view, "accuracy": None, "macro_f1": None, "figures": {"r2": value}}
              for view, value in (("network", -0.056), ("inputs", 0.968))]  # fmt: skip
    figure = Figure()
    draw_headroom(figure, good_findings(headroom={"metric": "r2", "chance": -0.03, "probes": probes}))
    (axes,) = figure.axes
    ends = {label.get_text(): label.xy[0] for label in axes.texts if label.get_text() != "chance"}
    assert ends == {"-0.056": 0.0, "0.968": 0.968}
