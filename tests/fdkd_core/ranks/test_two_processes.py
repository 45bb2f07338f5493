"""Two processes on the CPU train what one trains, and end together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_job import write_small_data
from unlabelled_data import take_labels

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.folds import without
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import TrainingDivergedError, TrainingInterrupted
from fdkd_core.events import Event, EventLog
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import NO_DISTILLATION, FurtherTeacher, Phase, Trained, run_phase
from fdkd_core.ranks.crew_process import Crew
from fdkd_core.spec import (
    ClassificationSpec,
    CombinedPart,
    CombineSpec,
    Conv1dSpec,
    CRDSpec,
    DISTSpec,
    FDCMKDSpec,
    LogitKDSpec,
    MethodSpec,
    PKDSpec,
    RKDSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.teacher_views import TeacherRows

CPU = torch.device("cpu")
ROWS = 91  # in 6 batches of 16 and 15 rows: neither epochs nor batches can be divided evenly
STEPS = 12
UNLABELLED = 60
FD_CMKD = FDCMKDSpec(projector="linear")
METHODS: dict[str, MethodSpec] = {
    "none": NO_DISTILLATION,
    "balanced": CombineSpec(
        parts=(CombinedPart(method=LogitKDSpec(balance="gradient_norm")), CombinedPart(method=FD_CMKD))
    ),
    "across the batch": CombineSpec(
        parts=tuple(
            CombinedPart(method=method)
            for method in (PKDSpec(), RKDSpec(), DISTSpec(), CRDSpec(embedding_dim=8))
        )
    ),
}

Train = Callable[..., tuple[Trained, list[Event]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PairedDataset:
    folder = tmp_path_factory.mktemp("data")
    whole = write_small_data(folder / "whole.npz", rows=ROWS + UNLABELLED)
    path = take_labels(folder / "small.npz", whole, kept=ROWS)
    return load_dataset(path, ["clean", "wave"], task=ClassificationSpec(), seed=0)


@pytest.fixture(scope="module")
def crew(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("crew") / "ranks"

    def is_stuck(error: Exception) -> None:
        raise AssertionError("a rank that ended was not noticed") from error

    with Crew(2, folder, data, CPU, 1, is_stuck) as crew:
        yield crew
    assert not folder.exists()


def teacher(seed: int, rows: int = ROWS) -> ModelOutput:
    generator = torch.Generator().manual_seed(seed)
    return ModelOutput(torch.randn(rows, 10, generator=generator), torch.randn(rows, 3, generator=generator))


def phase(method: MethodSpec = NO_DISTILLATION, *, dropout: float = 0.0, **training: Any) -> Phase:
    spec = TrainingSpec(**{"epochs": 2, "batch_size": 16, "optimizer": SGDSpec(lr=0.05), **training})
    taught = {} if method is NO_DISTILLATION else {"teacher_outputs": teacher(0)}
    architecture = Conv1dSpec(width=6, depth=2, dropout=dropout)  # with batch norm
    return Phase("student", "wave", architecture, "/student/architecture", spec, method, **taught)


@pytest.fixture
def train(data: PairedDataset, tmp_path: Path) -> Train:
    def run(
        phase: Phase,
        crew: Crew | None = None,
        *,
        before_step: dict[int, Callable[[], object]] | None = None,
        folder: str = "one",
        on: PairedDataset | None = None,
    ) -> tuple[Trained, list[Event]]:
        events: list[Event] = []
        step = -1

        def should_stop() -> bool:
            nonlocal step
            step += 1
            return bool((before_step or {}).get(step, lambda: False)())

        out = tmp_path / folder
        out.mkdir(exist_ok=True)
        trained, _ = run_phase(
            phase,
            on or data,
            checkpoints=out / "work",
            key="key",
            log=EventLog(out / "events.jsonl", events.append),
            should_stop=should_stop,
            device=CPU,
            steps_before=0,
            crew=crew,
        )
        return trained, events

    return run


def assert_close(found: Trained, expected: Trained, tolerance: float = 1e-4) -> None:
    others = expected.model.state_dict()
    for name, tensor in found.model.state_dict().items():
        torch.testing.assert_close(tensor, others[name], rtol=tolerance, atol=tolerance, msg=name)


def losses(events: list[Event]) -> list[float]:
    return [event["loss"] for event in events if event["event"] == "step"]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_the_weights_of_one(name: str, crew: Crew, train: Train) -> None:
    alone, events = train(phase(METHODS[name]))
    together, shared_events = train(phase(METHODS[name]), crew, folder="two")
    assert_close(together, alone)
    assert losses(shared_events) == pytest.approx(losses(events), rel=1e-4)
    assert {type(module).__name__ for module in together.model.modules()} == {
        type(module).__name__ for module in alone.model.modules()
    }


def test_the_tolerance_tells_trainings_apart(train: Train) -> None:
    """A rate that is a tenth lower is told, as would be statistics over half of each batch."""
    with pytest.raises(AssertionError):
        assert_close(train(phase())[0], train(phase(optimizer=SGDSpec(lr=0.045)), folder="two")[0], 2e-3)


def test_rows_without_a_teacher_and_several_teachers(crew: Crew, train: Train) -> None:
    """Some shares of a batch have no row with a teacher's view at all."""
    paired = torch.arange(ROWS) % 9 == 0
    taught = phase(FD_CMKD)
    second = FurtherTeacher("teacher2", None, TeacherRows(teacher(1), ~paired, 0), 0.5)
    taught = Phase(
        **{
            **vars(taught),
            "paired": paired,
            "more_teachers": (second,),
            "row_weights": torch.rand(2, ROWS, generator=torch.Generator().manual_seed(3)),
        }
    )
    alone, _ = train(taught)
    together, _ = train(taught, crew, folder="two")
    assert_close(together, alone)


@pytest.mark.parametrize("is_taught", [True, False])
def test_rows_without_a_label(is_taught: bool, data: PairedDataset, crew: Crew, train: Train) -> None:
    outputs = teacher(0, ROWS + UNLABELLED)
    answers = outputs.logits.argmax(dim=1).numpy()
    changes = {"teacher_outputs": outputs, "answers": answers} if is_taught else {"is_evened": True}
    found = Phase(**{**vars(phase(FD_CMKD if is_taught else NO_DISTILLATION)), **changes})
    alone, events = train(found)
    together, shared_events = train(found, crew, folder="two")
    assert_close(together, alone)
    begun = [event["total_steps"] for event in events + shared_events if event["event"] == "phase_started"]
    assert begun == [20, 20]  # of 151 rows


def test_a_fold_is_trained_without_its_rows_by_all(data: PairedDataset, crew: Crew, train: Train) -> None:
    """The processes were given the whole data when they began, which a later phase trains on again."""
    is_out = np.arange(ROWS + UNLABELLED) % 3 == 0
    kept, outputs = without(data, is_out), teacher(0, ROWS + UNLABELLED)
    rows = torch.from_numpy(~is_out)
    part = ModelOutput(*(tensor[rows] for tensor in outputs))
    found = Phase(
        **{
            **vars(phase(FD_CMKD)),
            "teacher_outputs": part,
            "answers": outputs.logits.argmax(dim=1).numpy()[~is_out],
        }
    )
    alone, events = train(found, on=kept)
    together, shared_events = train(found, crew, folder="two", on=kept)
    begun = [event["total_steps"] for event in events + shared_events if event["event"] == "phase_started"]
    assert begun == [2 * -(-len(kept.taught_rows) // 16)] * 2
    assert_close(together, alone)
    whole, _ = train(phase(), folder="three")
    again, _ = train(phase(), crew, folder="four")
    assert_close(again, whole)


def test_a_stopped_training_resumes_to_the_same_bits(crew: Crew, train: Train) -> None:
    """With dropout, whose masks every process draws for its own rows."""
    dropping = phase(FD_CMKD, dropout=0.3)
    straight, _ = train(dropping, crew)
    with pytest.raises(TrainingInterrupted):
        train(dropping, crew, before_step={7: lambda: True}, folder="two")
    resumed, events = train(dropping, crew, folder="two")
    (started,) = [event for event in events if event["event"] == "phase_started"]
    assert started["step"] == 7
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, straight.model.state_dict()[name]), name


def test_both_diverge_in_the_same_step_and_train_on(crew: Crew, train: Train) -> None:
    diverging = phase(FD_CMKD)
    assert diverging.teacher_outputs is not None
    diverging.teacher_outputs.features[50] = torch.nan
    with pytest.raises(TrainingDivergedError) as alone:
        train(diverging)
    with pytest.raises(TrainingDivergedError) as together:
        train(diverging, crew, folder="two")
    assert (together.value.step, together.value.term) == (alone.value.step, alone.value.term)
    assert together.value.term == "low"
    trained, _ = train(phase(), crew, folder="after")
    assert trained.epochs == 2


def test_the_run_ends_with_a_process_that_is_killed(data: PairedDataset, crew: Crew, train: Train) -> None:
    """Last, since the crew is of no use afterwards."""
    (follower,) = crew._followers
    with pytest.raises(RuntimeError, match="process 1 of the training was ended by signal 9"):
        train(phase(epochs=10_000), crew, before_step={3: lambda: os.kill(follower.pid, signal.SIGKILL)})
