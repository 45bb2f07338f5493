"""What every task has in common, and what a spec says of the figures it is judged by."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from small_job import small_comparison, small_spec, small_study

from fdkd_core.errors import SpecError
from fdkd_core.spec import TaskSpec, load_spec
from fdkd_core.spec.judging import reported_by, selected_by
from fdkd_core.spec.measures import MEASURES, MetricName, SelectBy
from fdkd_core.spec.tasks import TASK_FACTS
from fdkd_core.tasks import TASKS


def members(union: Any) -> tuple[type, ...]:
    return get_args(get_args(union)[0]) if get_args(union) else (union,)


def test_every_task_of_a_spec_has_facts_and_a_line_in_the_table() -> None:
    kinds = [spec.model_fields["kind"].default for spec in members(TaskSpec)]
    assert list(TASKS) == list(members(TaskSpec))
    assert list(TASK_FACTS) == kinds


def test_every_figure_is_described() -> None:
    assert {*get_args(MetricName), "loss"} == set(get_args(SelectBy)) == set(MEASURES)
    assert {name for facts in TASK_FACTS.values() for name in facts.metrics} == set(get_args(MetricName))


def test_the_figure_of_the_task_stands_in_the_spec() -> None:
    """So that equal jobs have equal hashes, whether the figure was stated or not."""
    for spec in (small_spec(gates=[{}]), small_study(), small_comparison()):
        training = {**spec.training.model_dump(mode="json"), "select_by": None}
        again = load_spec({**spec.model_dump(mode="json"), "training": training})
        assert again.training.select_by == "accuracy"
        assert again.teacher.train is not None
        assert again.teacher.train.select_by == "accuracy"
        assert again == spec
    assert small_spec(gates=[{}]).gates[0].metric == "accuracy"


def test_a_choice_of_figure_is_kept() -> None:
    training = {**small_spec().training.model_dump(mode="json"), "select_by": "loss"}
    spec = small_spec(training=training, gates=[{"metric": "macro_f1"}])
    assert selected_by(spec.training, spec.task) == "loss"
    assert reported_by(spec.training, spec.task) == MEASURES["accuracy"]
    assert spec.gates[0].metric == "macro_f1"


@pytest.mark.parametrize("field", ["training", "teacher"])
def test_an_unknown_figure_is_refused_where_it_stands(field: str) -> None:
    document = small_spec().model_dump(mode="json")
    training = document["training"] if field == "training" else document["teacher"]["train"]
    training["select_by"] = "beauty"
    with pytest.raises(SpecError) as caught:
        load_spec(document)
    (problem,) = caught.value.problems
    place = "/training/select_by" if field == "training" else "/teacher/train/select_by"
    assert (problem.code, problem.pointer) == ("not_allowed", place)


def test_measures_speak_plainly() -> None:
    accuracy, loss = MEASURES["accuracy"], MEASURES["loss"]
    assert (accuracy.text(0.9342), accuracy.text(0.9342, unit=True)) == ("93.4", "93.4 %")
    assert (accuracy.gain(-0.0004), accuracy.gain(0.0231)) == ("+0.0 points", "+2.3 points")
    assert (loss.text(0.12345), loss.gain(-0.5), loss.signed(0.5)) == ("0.123", "-0.500", -0.5)
