"""What a student must show before it is handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_samples import result as model_result
from rich.console import Console
from small_job import small_spec, write_small_data
from warm_process import run_warm

from fdkd_core.__main__ import main
from fdkd_core.bundle.card_uplift import uplift_section
from fdkd_core.console import show_result
from fdkd_core.errors import GateFailedError, SpecError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import GateSpec, MLPSpec
from fdkd_core.spec.measures import MEASURES
from fdkd_core.spec.result import RunResult, Uplift
from fdkd_core.spec.uplift import FigureGain, TaskUplift, noise_words
from fdkd_core.tasks.classification import Classification, macro_f1, macro_f1_influence
from fdkd_core.uplift import failure_of, measure_uplift, pass_gates

OPTIONS = RunOptions(device="cpu", threads=1)
IMPOSSIBLE = {"min_uplift": 1.0, "on_fail": "fail"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


def uplift(accuracy: float, error: float = 0.02, macro: float = 0.0, macro_error: float = 0.0) -> Uplift:
    return Uplift(
        val_accuracy=0.0,
        test_accuracy=accuracy,
        test_macro_f1=macro,
        teacher_gap_closed=None,
        standard_error=error,
        macro_f1_standard_error=macro_error,
    )


@pytest.mark.parametrize(
    ("gate", "found", "passed"),
    [
        ({}, uplift(0.0), True),
        ({}, uplift(-0.001), False),
        ({"min_uplift": 0.01}, uplift(0.0099), False),
        ({"min_uplift": 0.01}, uplift(0.01), True),
        ({"min_uplift": -0.05}, uplift(-0.04), True),
        ({"significant": True}, uplift(0.03, 0.02), False),
        ({"significant": True}, uplift(0.041, 0.02), True),
        ({"significant": True, "min_uplift": 0.02}, uplift(0.041, 0.02), False),
        ({"significant": True}, uplift(0.0, 0.0), False),  # the very same predictions
        ({"metric": "macro_f1"}, uplift(0.5, macro=-0.01), False),
        ({"metric": "macro_f1", "significant": True}, uplift(-0.5, macro=0.05, macro_error=0.02), True),
        ({"metric": "macro_f1", "significant": True}, uplift(0.5, macro=0.05, macro_error=0.03), False),
    ],
)
def test_a_gate_is_passed_by_its_margin(gate: dict[str, Any], found: Uplift, passed: bool) -> None:
    spec = GateSpec(**gate)
    (outcome,) = pass_gates([spec], found)
    assert outcome.passed is passed
    assert (outcome.threshold, outcome.significant, outcome.on_fail) == (
        spec.min_uplift,
        spec.significant,
        spec.on_fail,
    )
    assert outcome.sentence.endswith(": passed." if passed else "not passed.")
    places = 2 if outcome.value == 0.0099 else 1  # with one it would be no less than the margin
    assert f"{100 * outcome.value:+.{places}f} points" in outcome.sentence
    assert f"{100 * spec.min_uplift:+.{places}f} points" in outcome.sentence.partition("asks for")[2]


@pytest.mark.parametrize(
    ("gained", "margin", "told"),
    [
        (-0.0004, 0.0, "is -0.04 points (±4.0); the job asks for at least +0.00 points: not passed."),
        (-0.000004, 0.0, "is -0.0004 points (±4.0); the job asks for at least +0.0000 points: not passed."),
        (0.0, 0.0, "is +0.0 points (±4.0); the job asks for at least +0.0 points: passed."),
        (0.0104, 0.01, "is +1.04 points (±4.0); the job asks for at least +1.00 points: passed."),
    ],
)
def test_a_gain_and_a_margin_that_differ_are_seen_to_differ(gained: float, margin: float, told: str) -> None:
    (outcome,) = pass_gates([GateSpec(min_uplift=margin)], uplift(gained))
    assert outcome.sentence.endswith(told)


def test_a_gate_says_that_the_control_was_handed_over() -> None:
    (outcome,) = pass_gates([GateSpec(min_uplift=0.5)], uplift(0.0), is_control=True)
    assert "is +0.0 points (the student is the control itself); the job asks for" in outcome.sentence


def test_labels_are_not_called_groups() -> None:
    measure = MEASURES["accuracy"]
    found = uplift(0.1).model_copy(update={"noise": 0.04, "groups": 12, "grouped_by": "label"})
    (outcome,) = pass_gates([GateSpec()], found)
    assert "(±4.0 over 12 labels)" in outcome.sentence
    assert "±4.0 over its 12 labels; one seed" in noise_words(measure, 0.1, 0.04, 12, "label")
    assert "all test rows are of one label" in noise_words(measure, 0.1, None, 1, "label")
    assert "±4.0 over its 12 groups; one seed" in noise_words(measure, 0.1, 0.04, 12)
    card = uplift_section(found, [], is_distilled=True, is_control=False)
    assert "(over its 12 labels)" in card


def test_only_a_gate_that_must_be_passed_fails_a_job() -> None:
    gates = [GateSpec(), GateSpec(on_fail="fail"), GateSpec(min_uplift=-0.5, on_fail="fail")]
    failure = failure_of(pass_gates(gates, uplift(-0.1)))
    assert failure is not None
    assert [(problem.code, problem.pointer) for problem in failure.problems] == [("gate_failed", "/gates/1")]
    assert "-10.0 points (±4.0)" in str(failure)
    assert failure_of(pass_gates(gates, uplift(0.1))) is None
    assert failure_of(pass_gates(gates[:1], uplift(-0.1))) is None


def predictions(seed: int, count: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count, p=[0.6, 0.2, 0.15, 0.05])
    guess = [
        np.where(rng.random(count) < share, labels, rng.integers(0, classes, count)) for share in (0.7, 0.5)
    ]
    return labels, guess[0], guess[1]


def test_the_influence_is_the_derivative_of_macro_f1() -> None:
    labels, student, _ = predictions(0)
    found = macro_f1_influence(student, labels)
    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    base, copies = macro_f1(student, labels), 400
    for row in range(0, 300, 37):
        # Each sample many times over, so that one more of one of them is a small step.
        more = [np.append(np.repeat(part, copies), part[row]) for part in (student, labels)]
        assert (macro_f1(*more) - base) * 300 * copies == pytest.approx(found[row], rel=1e-2, abs=1e-3)


def test_the_standard_errors_are_those_of_resampling() -> None:
    labels, student, control = predictions(1)
    models = {role: model_result("m", MLPSpec(), 0.5) for role in ("teacher", "student", "control")}
    answers = (np.eye(4, dtype=np.float32)[predicted] for predicted in (student, control))
    found = measure_uplift(Classification(), models, labels, *answers, learned=labels)
    rng = np.random.default_rng(2)
    draws = [rng.integers(0, 300, 300) for _ in range(2000)]
    accuracy = [((student == labels)[d].mean() - (control == labels)[d].mean()) for d in draws]
    macro = [macro_f1(student[d], labels[d]) - macro_f1(control[d], labels[d]) for d in draws]
    assert found.standard_error == pytest.approx(np.std(accuracy), rel=0.08)
    assert found.macro_f1_standard_error == pytest.approx(np.std(macro), rel=0.08)


def test_a_gate_that_only_warns_is_told_everywhere(data: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    gates = [{"min_uplift": 1.0}, {"min_uplift": -1.0}]
    found = run(small_spec(gates=gates), data, tmp_path / "out", options=OPTIONS, on_event=events.append)
    assert isinstance(found, RunResult)
    assert [gate.passed for gate in found.gates] == [False, True]
    assert found.gates[0].value == found.uplift.test_accuracy
    warned = [event["message"] for event in events if event["event"] == "warning"]
    # Of 30 test rows no student is much better than who always says the same: that is told too.
    assert warned == [found.gates[0].sentence, found.uplift.chance.warning]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["gates"][0]["passed"] is False
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert "What its job asked of it" in card
    assert ": not passed." in card.replace("\\", "")
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    show_result(console, found, tmp_path / "out")
    shown = console.export_text()
    assert shown.count("gate: Test accuracy") == 2
    console.file.close()


def test_a_student_that_fails_its_gate_is_not_handed_over(data: Path, tmp_path: Path) -> None:
    out, spec = tmp_path / "out", small_spec(gates=[IMPOSSIBLE])
    with pytest.raises(GateFailedError) as first:
        run(spec, data, out, options=OPTIONS)
    assert {path.name for path in out.iterdir()} == {
        "job.json", "data_report.json", "events.jsonl", "teacher", "refused.json", ".lock",
    }  # fmt: skip
    refused = json.loads((out / "refused.json").read_text())
    assert refused["bundle"] is None
    assert refused["uplift"]["test_accuracy"] == refused["gates"][0]["value"]

    def never() -> bool:
        raise AssertionError("it trains again")

    events: list[dict[str, Any]] = []
    with pytest.raises(GateFailedError) as second:
        run(spec, data, out, options=OPTIONS, should_stop=never, on_event=events.append)
    assert str(second.value) == str(first.value)
    assert second.value.problems == first.value.problems
    assert events == []


def test_the_command_says_so(data: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(small_spec(gates=[IMPOSSIBLE]).model_dump(mode="json")))
    options = ["--threads", "1", "--device", "cpu", "--quiet", "--events-fd", "1"]
    done = run_warm(main, spec, data, tmp_path / "out", *options)
    assert done.returncode == 6, done.stderr
    assert "gate_failed: Test accuracy of the student minus its control's is" in done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    assert (told["event"], told["code"]) == ("run_failed", "gate_failed")
    assert told["problems"][0]["pointer"] == "/gates/0"


@pytest.mark.parametrize(
    "changes",
    [{"controls": {"no_teacher": False}}, {"method": {"name": "none"}}],
    ids=repr,
)
def test_gates_need_a_control(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        small_spec(gates=[{}], **changes)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("conflicting_fields", "/gates")
    small_spec(**changes)


def test_a_search_has_a_control_whatever_is_said() -> None:
    spec = small_spec(gates=[{}], controls={"no_teacher": False}, method={"name": "auto"})
    assert len(spec.gates) == 1


@pytest.mark.parametrize(("right", "of", "less", "margin"), [(17, 20, 16, 0.05), (29, 100, 28, 0.01)])
def test_a_gain_of_just_the_margin_passes_although_floats_are_less(
    right: int, of: int, less: int, margin: float
) -> None:
    gained = right / of - less / of
    assert gained < margin
    (found,) = pass_gates([GateSpec(min_uplift=margin)], uplift(gained))
    assert found.passed
    assert f"{100 * margin:+.1f} points" in found.sentence
    (found,) = pass_gates([GateSpec(min_uplift=margin + 1e-6)], uplift(gained))
    assert not found.passed


def test_gates_are_read_strictly() -> None:
    with pytest.raises(SpecError) as caught:
        small_spec(gates=[{"min_uplift": 2}, {"metric": "loss"}, {"on_fail": "ignore"}])
    assert [problem.pointer for problem in caught.value.problems] == [
        "/gates/0/min_uplift",
        "/gates/1/metric",
        "/gates/2/on_fail",
    ]


@pytest.mark.parametrize(("margin", "passed"), [(0.0, True), (0.1, True), (0.11, False)])
def test_a_gate_on_a_figure_with_a_unit_is_a_share_of_the_controls(margin: float, passed: bool) -> None:
    gains = [
        FigureGain(metric="r2", val=0.1, test=0.02, standard_error=0.01, control=0.5),
        FigureGain(metric="mae", val=1.0, test=2.0, standard_error=0.5, control=20.0),
    ]
    uplift_of_numbers = TaskUplift(gains=gains, teacher_gap_closed=None)
    found, main = pass_gates([GateSpec(metric="mae", min_uplift=margin), GateSpec()], uplift_of_numbers)
    assert (found.metric, found.value, found.standard_error) == ("mae", 0.1, 0.025)
    assert found.passed is passed
    assert "smaller than its control's by 10.0 % (±5.0)" in found.sentence
    assert (main.metric, main.value, main.passed) == ("r2", 0.02, True)
    assert "minus its control's is +0.020 (±0.020)" in main.sentence
    worse = FigureGain(metric="mae", val=1.0, test=-2.0, standard_error=0.5, control=20.0)
    turned = pass_gates([GateSpec(metric="mae")], TaskUplift(gains=[worse], teacher_gap_closed=None))[0]
    assert "larger than its control's by 10.0 % (±5.0)" in turned.sentence
    assert not turned.passed
