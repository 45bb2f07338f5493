"""What a person reads about a job, made from what a server sends."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from search_samples import search_report

from fdkd_client.cli import terminal
from fdkd_client.cli.job_tables import job_view, jobs_table
from fdkd_client.results import Job

SPLIT = {"accuracy": 0.9, "macro_f1": 0.89, "loss": 0.3, "num_samples": 100}
MODEL: dict[str, Any] = {
    "modality": "audio",
    "architecture": {"name": "conv2d", "width": 16},
    "parameters": 1234,
    "multiply_adds": 1,
    "size_bytes": 5000,
    "val": SPLIT,
    "test": SPLIT,
    "seconds": 3.0,
    "epochs": 2,
    "best_epoch": 1,
    "weights_sha256": "0" * 64,
}
RESULT: dict[str, Any] = {
    "kind": "distill",
    "name": "a",
    "spec_sha256": "",
    "data_sha256": "",
    "classes": 10,
    "student": MODEL,
    "bundle": "student",
    "device": "cpu",
    "threads": 1,
    "seconds": 9.0,
}
SPEC: dict[str, Any] = {
    "dataset": "digits",
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
    "method": {
        "name": "combine",
        "parts": [{"method": {"name": "fd_cmkd"}}, {"weight": 2.0, "method": {"name": "logit_kd"}}],
    },
}


def shown(width: int = 120, **fields: Any) -> str:
    job = Job.model_validate({"id": "job_1", "kind": "distill", "name": "a", **{"spec": SPEC, **fields}})
    target = io.StringIO()
    Console(file=target, width=width).print(job_view(job))
    return target.getvalue()


def gate(passed: bool, sentence: str) -> dict[str, Any]:
    return {
        "metric": "accuracy",
        "passed": passed,
        "value": 0.01,
        "standard_error": 0.02,
        "threshold": 0.0,
        "on_fail": "warn",
        "sentence": sentence,
    }


def test_a_job_that_waits_to_go_on_does_not_look_as_if_it_ran() -> None:
    progress = {"phase": "student", "step": 800, "total_steps": 2000, "epoch": 3, "eta_s": 1380.0}
    running = shown(state="running", progress=progress)
    assert "training the student: step 800 of 2,000, epoch 3, about 23m 00s left" in running
    waiting = shown(state="queued", attempt=1, progress=progress)
    assert "waits to go on; it was training the student: step 800 of 2,000, epoch 3\n" in "\n".join(
        line.rstrip() for line in waiting.splitlines()
    )
    assert "left" not in waiting
    jobs = [
        Job.model_validate(
            {"id": "job_1", "kind": "distill", "name": "a", "state": state, "progress": progress}
        )
        for state in ("running", "queued")
    ]
    target = io.StringIO()
    Console(file=target, width=120).print(jobs_table(jobs))
    first, second = (line for line in target.getvalue().splitlines() if "job_1" in line)
    assert "student 40%" in first
    assert "student 40%, waits" in second
    assert "waits" not in first


def test_since_when_it_waits_is_set_apart_from_its_state() -> None:
    assert "state  queued, created " in shown(state="queued", created_at="2026-01-01T00:00:00Z")


def test_how_long_it_ran_is_not_how_long_it_will_stop() -> None:
    text = shown(state="running", cancel_requested=True, attempt=1, started_at="2026-01-01T00:00:00Z")
    line = next(line for line in text.splitlines() if line.startswith("state"))
    assert line.startswith("state  running for ")
    assert line.rstrip().endswith(", will stop at its next step")


def test_a_cancelled_job_says_how_to_go_on() -> None:
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:00Z"}
    assert "To go on where it stopped: fdkd jobs retry job_1" in shown(state="cancelled", **times)
    # The service repeats a comparison as a whole; what never began has nothing to go on with.
    assert "retry" not in shown(state="cancelled", parent_id="job_p", **times)
    assert "retry" not in shown(state="cancelled")


def test_a_comparison_among_others_counts_its_jobs() -> None:
    progress = {"phase": "children", "step": 2, "total_steps": 6}
    fields = {"id": "job_1", "kind": "compare", "name": "a", "state": "running", "progress": progress}
    target = io.StringIO()
    Console(file=target, width=120).print(jobs_table([Job.model_validate(fields)]))
    assert " 2 of 6 jobs " in target.getvalue()


def test_a_combination_is_named_by_its_parts() -> None:
    assert "image teaches audio on digits, by fd_cmkd + logit_kd" in shown(state="queued")


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("distill", {"method": {"name": "auto"}}, "by the method that a search finds (auto)"),
        ("study", {"method": {"name": "none"}}, "trains audio on digits, without a teacher"),
        (
            "study", {"method": {"name": "dkd"}, "teacher_view": "shuffled_pairs"},
            "image teaches audio on digits, by dkd, with shuffled pairs (a control)",
        ),
        ("study", {"method": {"name": "dkd"}, "teacher_view": "paired"}, "on digits, by dkd\n"),
        ("compare", {"methods": [{"name": "dkd"}, SPEC["method"]]}, "on digits, by dkd, fd_cmkd + logit_kd"),
        ("diagnose", {}, "asks whether image could teach audio on digits"),
    ],
)  # fmt: skip
def test_what_a_job_does(kind: str, fields: dict[str, Any], words: str) -> None:
    text = shown(kind=kind, state="queued", spec={**SPEC, **fields})
    assert words in "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_several_teachers_are_all_named() -> None:
    several = {**SPEC, "more_teachers": [{"modality": "text", "architecture": {"name": "mlp"}}]}
    assert "image and text (mlp) teach audio on digits" in shown(state="queued", spec=several)
    result = {**RESULT, "teacher": MODEL, "more_teachers": [{**MODEL, "modality": "text"}]}
    text = shown(state="succeeded", spec=several, result=result)
    assert text.index("teacher ") < text.index("teacher2") < text.index("student")


def test_gates_are_shown_with_the_result() -> None:
    gates = [gate(True, "first: passed."), gate(False, "second [x]: not passed.")]
    text = shown(state="succeeded", result={**RESULT, "gates": gates})
    assert "gate    first: passed." in text
    assert "gate    second [x]: not passed." in text
    assert "gate" not in shown(state="succeeded", result=RESULT)


def latency(*times: float, threads: int = 1) -> dict[str, Any]:
    batches = [
        {"batch_size": size, "median_ms": time, "p95_ms": time, "repeats": 9}
        for size, time in zip((1, 32), times, strict=False)
    ]
    return {"runtime": "torch", "threads": threads, "batches": batches}


def test_what_the_student_costs_beside_the_teacher() -> None:
    student, teacher = {**MODEL, "latency": latency(0.125, 2.0)}, {**MODEL, "latency": latency(1.5)}
    fp32 = {"file": "model.onnx", "size_bytes": 9, "metric": "accuracy", "val": 0.9}
    int8 = {**fp32, "scheme": "static", "kept": True, "reason": "Kept: -70 % [bytes]."}
    export = {"fp32": fp32, "int8": [int8]}
    result = {**RESULT, "student": student, "teacher": teacher, "export": export}
    text = shown(state="succeeded", result=result)
    words = "0.125 ms for a sample (teacher 1.5 ms, 12 times that), 2 ms for 32; one CPU thread"
    assert f"speed   {words}" in text
    assert "int8    static: Kept: -70 % [bytes]." in text
    untried = {**result, "export": {"fp32": fp32, "int8_not_tried": "nothing tells what it loses"}}
    text_untried = shown(state="succeeded", result=untried)
    assert "int8    not tried, because nothing tells what it loses" in text_untried
    teacher["latency"] = latency(1.5, 3.0, threads=4)
    text = " ".join(shown(state="succeeded", result=result).split())
    assert "one CPU thread, 4 of the teacher" in text
    plain = shown(state="succeeded", result=RESULT)
    assert "speed" not in plain
    assert "int8" not in plain


def test_nothing_stands_under_the_headings_of_a_narrow_result() -> None:
    student = {**MODEL, "latency": latency(0.125, 2.0)}
    reason = "dist is ahead of the tuned control by +21.7 points of validation accuracy over 2 fresh seeds."
    uplift = {"test_accuracy": 0.2, "standard_error": 0.02, "teacher_gap_closed": 0.5}
    result = {
        **RESULT, "student": student, "control": MODEL, "uplift": uplift,
        "auto": {"winner_label": "dist", "reason": reason},
        "gates": [gate(True, "Test accuracy of the student minus its control's is enough, by far: passed.")],
    }  # fmt: skip
    lines = shown(width=60, state="succeeded", result=result).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("uplift "))
    last = next(number for number, line in enumerate(lines) if line.startswith("Accuracy and"))
    headings = [line[:8].strip() for line in lines[first:last]]
    assert [heading for heading in headings if heading] == ["uplift", "chosen", "speed", "gate"]
    assert len(headings) > 4
    assert "dist: dist" not in " ".join(lines)


@pytest.mark.parametrize(
    ("teacher", "others", "told"),
    [
        (
            0.85,
            [],
            "The teacher does worse on the test split than the control (85.0 % against 90.0 %, accuracy)",
        ),
        (0.85, [0.8], "All teachers do worse on the test split than the control (85.0 % against"),
        (0.85, [0.95], None),
        (0.9, [], None),
    ],
)
def test_a_teacher_that_is_behind_the_control_is_said_to_be(
    teacher: float, others: list[float], told: str | None
) -> None:
    def model(accuracy: float) -> dict[str, Any]:
        return {**MODEL, "test": {**SPLIT, "accuracy": accuracy}}

    models = {"teacher": model(teacher), "more_teachers": [model(found) for found in others]}
    result = {**RESULT, "control": model(0.9), **models}
    text = " ".join(shown(state="succeeded", result=result).split())
    assert ("worse on the test split" in text) == (told is not None)
    assert told is None or told in text
    without = {**result, "control": None}
    assert "worse on the test split" not in shown(state="succeeded", result=without)


def test_the_control_that_was_chosen_is_named() -> None:
    auto = {"winner_label": "no_teacher", "reason": "No method is ahead of the tuned control."}
    result = {**RESULT, "auto": auto, "uplift": {"test_accuracy": 0.0, "standard_error": 0.0}}
    text = shown(state="succeeded", result=result)
    assert "uplift" not in text
    assert "chosen  no_teacher: No method is ahead of the tuned control." in text


def test_models_that_were_given_are_named() -> None:
    text = shown(state="queued", given_models={"start": "mdl_a", "teacher2": "mdl_[b]"})
    assert "mdl_a (start)" in text
    assert "mdl_[b] (teacher2)" in text
    assert "given" not in shown(state="queued")


def test_what_the_student_of_a_study_costs_and_which_rows_it_was_taught() -> None:
    study = {
        **RESULT, "kind": "study", "method": {"name": "fd_cmkd"}, "lr": 0.1,
        "student": {**MODEL, "latency": latency(0.125)},
    }  # fmt: skip
    text = shown(state="succeeded", kind="study", result=study)
    assert "speed: 0.125 ms for a sample; one CPU thread" in text
    assert "training rows" not in text
    rows = {"teacher": "teacher", "pairing": "instance", "paired_rows": 30, "training_rows": 96}
    text = shown(state="succeeded", kind="study", result={**study, "taught": [rows]})
    assert "30 of 96 training rows have a view of the teacher; from the others" in text


def test_a_failed_gate_says_what_to_do() -> None:
    problem = {"code": "gate_failed", "detail": "Test accuracy is -3.0 points", "pointer": "/gates/0"}
    error = {
        "code": "gate_failed",
        "message": "Test accuracy is -3.0 points",
        "phase": "finalise",
        "retryable": False,
        "problems": [problem],
    }
    text = shown(state="failed", error=error)
    assert "/gates/0: Test accuracy is -3.0 points [gate_failed]" in text
    assert text.count("Test accuracy is") == 1
    assert "on_fail: warn" in text
    assert "fdkd jobs retry" not in text


def test_figures_of_another_task_have_columns_of_their_own() -> None:
    split = {"r2": 0.75, "mae": 12.5, "rmse": 15.0, "loss": 0.1, "num_samples": 100}
    model = {**MODEL, "val": split, "test": split}
    gain = {"metric": "r2", "val": 0.1, "test": 0.05, "standard_error": 0.01, "control": 0.7}
    result = {**RESULT, "student": model, "control": model, "uplift": {"gains": [gain]}}
    text = shown(state="succeeded", result=result)
    assert "val R²" in text
    assert "0.750" in text
    assert "12.5" in text
    assert "+0.050 in R² over the control" in text
    assert "(±0.020; one seed)" in text
    assert "R² and MAE." in text


def test_how_rows_were_paired_is_said_where_it_is_not_as_usual() -> None:
    rows = {"teacher": "teacher", "pairing": "instance", "paired_rows": 600, "training_rows": 600}
    usual = shown(state="succeeded", result={**RESULT, "taught": [rows]})
    assert "rows " not in usual
    found = shown(state="succeeded", result={**RESULT, "taught": [{**rows, "unlabelled_rows": 540}]})
    assert "rows    600 of 600 training rows have a view of the teacher, and 540 no label but its" in found
    found = shown(state="succeeded", result={**RESULT, "taught": [{**rows, "paired_rows": 200}]})
    assert "rows    200 of 600 training rows have a view of the teacher; from the others" in found


@pytest.mark.parametrize(
    "name",
    ["\U0001f600" * 128, "words and words " * 8, "x" * 128, "\u6d4b" * 100],
    ids=["emoji", "words", "word", "wide"],
)
@pytest.mark.parametrize("width", [80, 400])
def test_a_long_name_does_not_widen_the_list(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "stdout", lambda: Console(force_terminal=True))
    fields = {"kind": "distill", "state": "cancelled", "spec": SPEC}
    jobs = [
        Job.model_validate({"id": f"job_{number:026}", "name": text, **fields})
        for number, text in enumerate((name, "short"))
    ]
    target = io.StringIO()
    Console(file=target, width=width).print(jobs_table(jobs))
    lines = target.getvalue().splitlines()
    assert len(lines) == 4, "a job, a line"
    assert all(cell_len(line) <= min(width, 120) for line in lines)
    assert "\u2026" in lines[2]
    assert "cancelled" in lines[2]


def test_names_and_progress_share_what_a_narrow_terminal_has() -> None:
    progress = {"phase": "student", "step": 800, "total_steps": 2000}
    fields = {"kind": "distill", "created_at": "2026-01-01T00:00:00Z", "spec": SPEC}
    jobs = [
        Job.model_validate({"id": f"job_{number:026}", "name": name, **fields, **state})
        for number, (name, state) in enumerate(
            [
                ("image-teaches-audio", {"state": "queued", "progress": progress}),
                (
                    "digits",
                    {
                        "state": "failed",
                        "error": {"code": "every_method_failed", "message": "", "retryable": False},
                    },
                ),
            ]
        )
    ]
    target = io.StringIO()
    Console(file=target, width=80).print(jobs_table(jobs))
    _, _, first, second = target.getvalue().splitlines()
    assert "image-teac" in first
    assert "student 40%" in first
    assert "every_met" in second


@pytest.mark.parametrize("width", [40, 60])
def test_an_id_is_whole_on_a_narrow_terminal(width: int) -> None:
    job_id = "job_01m8q8v53sqx5fv6jnrsg4g0tr"
    job = Job.model_validate({"id": job_id, "kind": "distill", "name": "n", "state": "queued", "spec": SPEC})
    target = io.StringIO()
    Console(file=target, width=width).print(jobs_table([job]))
    assert job_id in target.getvalue()
    assert all(len(line) <= width for line in target.getvalue().splitlines())


def searched(width: int = 80, **changes: Any) -> str:
    """A job with `method: auto` that has succeeded."""
    found = search_report(changes.pop("select_by", "accuracy"), folds=changes.pop("folds", ()))
    auto = {**found.model_dump(mode="json"), **changes}
    return shown(width, state="succeeded", result={**RESULT, "control": MODEL, "auto": auto})


def test_a_search_shows_its_finalists_and_how_much_was_tried() -> None:
    text = searched()
    assert "…" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["finalist", "lr", "tuned", "val", "acc", "to", "control", "test", "acc"] in rows
    assert ["no_teacher", "0.1", "80.0", "78.0"] in rows
    assert ["fd_cmkd", "0.1", "weight=3", "84.3", "+4.3", "±1.2", "82.3"] in rows
    told = " ".join(text.split())
    assert "6 configurations in 9 short trainings. Finalists were trained in full with 3 fresh seeds" in told
    assert "chosen fd_cmkd is ahead of the tuned control by +4.3 points." in told
    assert "fdkd jobs artifacts job_1 -o report" in told
    assert "fewer than `trials` for the sake of the minutes" in " ".join(searched(cut_short=True).split())


def test_who_won_a_search_is_bold() -> None:
    found = search_report().model_dump(mode="json")
    job = Job.model_validate(
        {"id": "job_1", "kind": "distill", "name": "a", "spec": SPEC, "state": "succeeded",
         "result": {**RESULT, "auto": found}}
    )  # fmt: skip
    target = io.StringIO()
    Console(file=target, width=80, force_terminal=True).print(job_view(job))
    lines = target.getvalue().splitlines()
    assert any("\x1b[1mfd_cmkd" in line for line in lines)
    assert not any("\x1b[1mno_teacher" in line for line in lines)


def test_a_search_by_errors_and_folds_shows_them_as_they_are() -> None:
    text = searched(select_by="loss", folds=[-0.2, -0.3])
    assert "by folds" in text
    assert "0.157  +0.043 ±0.012" in text
    assert "over 2 folds of cross-validation, turned so that more is better" in " ".join(text.split())


def test_a_search_is_shown_whole_on_a_narrow_terminal() -> None:
    found = search_report().model_dump(mode="json")
    found["configurations"][2]["parameters"] = {"parts.0.weight": 0.125, "temperature": 2.83}
    found["finalists"][1] |= {"val": None, "test": None, "runs": []}
    text = searched(60, configurations=found["configurations"], finalists=found["finalists"])
    table = text.partition("finalist ")[2].partition("6 configurations")[0]
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 60
    joined = "".join(table.split())
    assert "diverged" in joined
    assert "temperature" in joined


def test_a_search_that_tells_no_finalists_shows_none() -> None:
    text = searched(finalists=[], winner_label="dist", reason="dist is ahead.")
    assert "finalist" not in text
    assert "chosen  dist is ahead." in text


def test_a_comparison_that_failed_trained_nothing_when_it_did() -> None:
    error = {"code": "every_method_failed", "message": "No method has figures.", "phase": "finalise"}
    children = dict.fromkeys(("queued", "running", "succeeded", "cancelled"), 0) | {"failed": 2}
    told = shown(kind="compare", state="failed", error=error, children=children)
    assert "while comparing what its jobs found" in told
    assert "testing and writing" not in told
    assert "while testing and writing the student" in shown(state="failed", error=error)
