"""What a search leaves as files, of figures that are given."""

from __future__ import annotations

import csv
import io
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from search_samples import FINAL, FIRST, search_report
from study_samples import metrics

from fdkd_core.spec.auto_result import AutoReport
from fdkd_core.spec.measures import MEASURES
from fdkd_core.studies.search_plot import bound, render_search_plot
from fdkd_core.studies.search_report import search_csv, search_markdown, write_search

STARTS = {"png": b"\x89PNG", "svg": b"<?xml"}


def cells_of(page: str, heading: str) -> list[list[str]]:
    """Of the table below a heading, but for its first two lines."""
    lines = page.partition(f"## {heading}\n")[2].strip().splitlines()
    table = lines[: lines.index("")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def with_a_diverged_finalist(report: AutoReport) -> AutoReport:
    control, method = report.finalists
    nothing = {"runs": [], "val": None, "val_difference": None, "val_standard_error": None, "test": None}
    lost = method.model_copy(update={**nothing, "test_difference": None})
    return report.model_copy(update={"finalists": [control, lost], "winner": 0, "winner_label": "no_teacher"})


def test_the_csv_has_a_row_for_each_training_of_a_rung_and_for_each_finalist() -> None:
    rows = list(csv.DictReader(io.StringIO(search_csv(search_report()))))
    assert [(row["configuration"], row["stage"], row["outcome"]) for row in rows] == [
        ("0", "rung 1", "went on"), ("0", "rung 2", "went on"), ("1", "rung 1", "went on"),
        ("1", "rung 2", "left behind"), ("2", "rung 1", "went on"), ("2", "rung 2", "went on"),
        ("3", "rung 1", "left behind"), ("4", "rung 1", "left behind"), ("5", "rung 1", "diverged"),
        ("0", "finalist", "not chosen"), ("2", "finalist", "handed over"),
    ]  # fmt: skip
    assert [*rows[3].values()] == [
        "1", "logit_kd", "0.1", "weight=2", "rung 2", "6", "0.7400", "", "", "", "left behind", "20.0",
    ]  # fmt: skip
    assert rows[8]["val_accuracy"] == ""
    assert [*rows[10].values()] == [
        "2", "fd_cmkd", "0.1", "weight=3", "finalist", "12", "0.8433", "0.0433", "0.0121", "0.8233",
        "handed over", "120.0",
    ]  # fmt: skip


def test_errors_are_in_the_files_as_they_were_measured() -> None:
    """In a result larger is better, also of errors."""
    report = search_report("loss")
    rows = list(csv.DictReader(io.StringIO(search_csv(report))))
    assert rows[0]["val_loss"] == "0.4000"
    assert rows[-1]["val_loss"] == f"{1 - sum(FINAL['fd_cmkd']) / 3:.4f}" == "0.1567"
    page = search_markdown("job", report)
    assert cells_of(page, "Finalists")[1][3:5] == ["0.157", "+0.043 ± 0.012"]
    assert (
        "in loss ± its standard error over seeds and validation rows, turned so that more is better" in page
    )


def test_the_page_has_the_reason_the_finalists_and_how_the_rungs_went() -> None:
    page = search_markdown("a [link](x)", search_report())
    assert page.startswith("# a \\[link\\](x)\n\n- fd\\_cmkd is ahead of the tuned control by +4.3 points.\n")
    assert "- Tried: 6 configurations in 9 short trainings.\n" in page
    assert "![validation of every configuration, rung by rung](search.png)" in page
    assert cells_of(page, "Finalists") == [
        ["no\\_teacher", "0.1", "", "80.0", "", "78.0 ± 2.5", "", "2m 00s"],
        ["**fd\\_cmkd**", "0.1", "weight=3", "84.3", "+4.3 ± 1.2", "82.3 ± 3.8", "+4.3 ± 1.4", "2m 00s"],
    ]
    assert "3 fresh seeds; to control: what decided" in page
    assert cells_of(page, "Rungs") == [
        ["0", "no\\_teacher", "0.1", "", "60.0", "70.0", "finalist"],
        ["3", "no\\_teacher", "0.0125", "", "40.0", "", "left behind after rung 1"],
        ["1", "logit\\_kd", "0.1", "weight=2", "64.0", "74.0", "left behind after rung 2"],
        ["4", "logit\\_kd", "0.0125", "weight=5", "44.0", "", "left behind after rung 1"],
        ["2", "fd\\_cmkd", "0.1", "weight=3", "66.0", "76.0", "**handed over**"],
        ["5", "fd\\_cmkd", "0.0125", "weight=6", "diverged", "", "left behind after rung 1"],
    ]
    assert "| rung 1: 3 epochs | rung 2: 6 epochs |" in page


def test_what_folds_decided_is_said_to_be_theirs() -> None:
    page = search_markdown("job", search_report(folds=[0.7, 0.8, 0.9, 0.8]))
    assert "| val acc | by folds | test acc |" in page
    assert "its standard error over 4 folds of cross-validation." in page
    assert "to control: what decided" not in page


def test_a_long_reason_is_not_cut_off() -> None:
    reason = "No method is ahead of the tuned control. " * 20
    assert reason.strip() in search_markdown("job", search_report().model_copy(update={"reason": reason}))


def test_a_finalist_that_diverged_has_no_figures() -> None:
    report = with_a_diverged_finalist(search_report())
    assert cells_of(search_markdown("job", report), "Finalists")[1] == [
        "fd\\_cmkd", "0.1", "weight=3", "diverged", "", "", "", "",
    ]  # fmt: skip
    last = [*csv.DictReader(io.StringIO(search_csv(report)))][-1]
    assert (last["stage"], last["outcome"], last["val_accuracy"]) == ("finalist", "diverged", "")
    assert render_search_plot("job", report, "svg").startswith(STARTS["svg"])


def test_equal_searches_give_equal_files(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_search(tmp_path / folder, "job", search_report())
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["search.csv", "search.md", "search.png", "search.svg"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    for kind, start in STARTS.items():
        drawn = (tmp_path / "one" / f"search.{kind}").read_bytes()
        assert drawn.startswith(start)
        assert drawn != render_search_plot("another name", search_report(), kind)
        other = search_report().model_copy(update={"winner": 0})
        assert drawn != render_search_plot("job", other, kind)


@pytest.mark.parametrize("name", ["$\\frac{1}{0}$ <b>&", "测试 🙂", "x" * 128])
def test_any_name_can_be_drawn(name: str) -> None:
    assert render_search_plot(name, search_report(), "svg").startswith(STARTS["svg"])


def test_a_wild_loss_does_not_make_one_line_of_the_others() -> None:
    report, measure = search_report("loss"), MEASURES["loss"]
    assert min(1 - value for value in FIRST.values()) <= -bound(report, measure) < 1.0
    wild = report.model_copy(deep=True)
    rung = wild.configurations[4].rungs[0]
    wild.configurations[4].rungs[0] = rung.model_copy(
        update={"val": metrics(0.5).model_copy(update={"loss": 1e9})}
    )
    assert bound(wild, measure) == pytest.approx(bound(report, measure), abs=0.5)
    assert bound(wild, MEASURES["accuracy"]) == -float("inf")


def test_a_legend_of_many_methods_is_not_cut_off() -> None:
    """By its ink: the outer rows and columns of pixels are blank."""
    report = search_report()
    more = [report.configurations[1].model_copy(update={"label": f"logit_kd#{n}"}) for n in range(2, 30)]
    crowded = report.model_copy(update={"configurations": [*report.configurations, *more]})
    picture = np.asarray(Image.open(BytesIO(render_search_plot("job", crowded, "png"))).convert("L"))
    assert picture.min() < 128
    for edge in (picture[:4], picture[-4:], picture[:, -4:]):
        assert edge.min() == 255
