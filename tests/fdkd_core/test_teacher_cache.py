from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import make_planted

from fdkd_core import bounded_folder, teacher_cache
from fdkd_core.bounded_folder import BoundedFolder
from fdkd_core.models import build_model
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import Trained
from fdkd_core.spec import MLPSpec
from fdkd_core.teacher_cache import SharedOutputs, TeacherCache
from fdkd_core.training.evaluation import predict_rows

CPU = torch.device("cpu")
DATA = make_planted(0, num_train=20, num_test=5).data


def teacher(seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    spec = MLPSpec(width=8)
    return Trained("inputs", spec, build_model(spec, (64,), 6, None, pointer="/x").eval(), 1, 1, 0.0)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for every time that outputs are computed."""
    lines: list[str] = []

    def predict(*arguments: Any) -> Any:
        lines.append("computed")
        return predict_rows(*arguments)

    monkeypatch.setattr(teacher_cache, "predict_rows", predict)
    return lines


def read(folder: Path | None, model: Trained, warnings: list[str] | None = None, **changes: Any) -> Any:
    warn = warnings.append if warnings is not None else pytest.fail
    return TeacherCache(folder, warn=warn, **changes).outputs(model, DATA, CPU)


def test_outputs_are_computed_once_and_read_bit_for_bit(tmp_path: Path, computed: list[str]) -> None:
    model = teacher()
    first, second = (read(tmp_path / "cache", model) for _ in range(2))
    assert len(computed) == 1
    expected = predict_rows(model.model, DATA.modalities["inputs"], DATA.splits["train"], CPU)
    for found in (first, second):
        assert torch.equal(found.features, expected.features)
        assert torch.equal(found.logits, expected.logits)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]


def test_another_teacher_other_data_and_other_rows_have_files_of_their_own(
    tmp_path: Path, computed: list[str]
) -> None:
    read(tmp_path, teacher(0))
    read(tmp_path, teacher(1))
    cache = TeacherCache(tmp_path, warn=pytest.fail)
    cache.outputs(teacher(0), replace(DATA, sha256="other"), CPU)
    cache.outputs(teacher(0), replace(DATA, splits={**DATA.splits, "train": DATA.splits["val"]}), CPU)
    assert len(computed) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_without_a_folder_nothing_is_kept(computed: list[str]) -> None:
    read(None, teacher())
    read(None, teacher())
    assert len(computed) == 2


@pytest.mark.parametrize("damage", ["bit", "tail", "empty", "no file of ours"])
def test_a_damaged_file_is_computed_again_and_replaced(
    damage: str, tmp_path: Path, computed: list[str]
) -> None:
    expected = read(tmp_path, teacher())
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-3] ^= 1
    path.write_bytes(
        {"bit": content, "tail": content[:-1], "empty": b"", "no file of ours": b"?" * 99}[damage]
    )
    warnings: list[str] = []
    found = read(tmp_path, teacher(), warnings)
    assert torch.equal(found.features, expected.features)
    assert len(computed) == 2
    assert len(warnings) == 1
    read(tmp_path, teacher())
    assert len(computed) == 2


def test_a_damaged_file_is_dropped_even_where_none_can_take_its_place(
    tmp_path: Path, computed: list[str]
) -> None:
    read(tmp_path, teacher())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    warnings: list[str] = []
    read(tmp_path, teacher(), warnings, max_bytes=10)
    assert len(warnings) == 1
    assert list(tmp_path.iterdir()) == []
    assert len(computed) == 2


def test_the_least_recently_used_outputs_make_room(tmp_path: Path, computed: list[str]) -> None:
    read(tmp_path, teacher(0))
    (first,) = tmp_path.iterdir()
    bound = int(2.5 * first.stat().st_size)
    read(tmp_path, teacher(1), max_bytes=bound)
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9 + (path != first)))
    read(tmp_path, teacher(0), max_bytes=bound)  # used, and so younger than the other
    read(tmp_path, teacher(2), max_bytes=bound)
    assert len(computed) == 3
    assert len(list(tmp_path.iterdir())) == 2
    read(tmp_path, teacher(0), max_bytes=bound)
    assert len(computed) == 3
    read(tmp_path, teacher(1), max_bytes=bound)
    assert len(computed) == 4


def test_no_room_at_all_is_no_cache(tmp_path: Path, computed: list[str]) -> None:
    for _ in range(2):
        read(tmp_path / "cache", teacher(), max_bytes=0)
        read(tmp_path / "cache", teacher(), max_bytes=100)
    assert len(computed) == 4
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_sealed_with_another_secret_is_not_trusted(tmp_path: Path, computed: list[str]) -> None:
    read(tmp_path, teacher())
    warnings: list[str] = []
    read(tmp_path, teacher(), warnings, secret=b"a secret of 16 bytes")
    assert len(computed) == 2
    assert "damaged" in warnings[0]


@pytest.mark.parametrize(
    ("is_dense", "expected"), [(False, ["real", "twin"]), (True, ["real", "real", "twin"])]
)
def test_arms_share_outputs_but_no_second_copy_of_maps(is_dense: bool, expected: list[str]) -> None:
    real, twin = teacher(0), teacher(1)
    for found in (real, twin):
        found.model.is_dense = is_dense
    shared, asked = SharedOutputs(real, DATA), []

    def ask(which: Trained, *, is_faked: bool = False) -> ModelOutput:
        def find() -> ModelOutput:
            asked.append("real" if which is real else "twin")
            return ModelOutput(torch.zeros(20, 8), torch.zeros(20, 6))

        return shared.outputs(which, DATA, find, is_faked=is_faked)

    assert ask(real) is ask(real)
    first = ask(real, is_faked=True)
    assert (shared.found is first) == (not is_dense)
    assert ask(real, is_faked=True) is not ask(twin)
    assert asked == expected
    assert (shared.found is None) == is_dense


OTHER_PROCESS = """
import sys
from pathlib import Path

import torch
from planted import make_planted

from fdkd_core import bounded_folder, teacher_cache
from fdkd_core.bounded_folder import BoundedFolder
from fdkd_core.models import build_model
from fdkd_core.phases import Trained
from fdkd_core.spec import MLPSpec

torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
spec = MLPSpec(width=8)
teacher = Trained("inputs", spec, build_model(spec, (64,), 6, None, pointer="/x").eval(), 1, 1, 0.0)
real = teacher_cache.predict_rows

def predict(*arguments):
    print("computing", flush=True)
    sys.stdin.readline()
    return real(*arguments)

teacher_cache.predict_rows = predict
data = make_planted(0, num_train=20, num_test=5).data
teacher_cache.TeacherCache(Path(sys.argv[1]), warn=print).outputs(teacher, data, torch.device("cpu"))
"""


@pytest.mark.parametrize("end", ["through", "killed"])
def test_who_comes_while_another_process_computes_waits_for_it_and_not_for_a_dead_one(
    end: str, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), str(torch.get_num_threads())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "computing\n"
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 1:
                assert computed == []
                if end == "killed":
                    other.kill()
                else:
                    other.communicate("go on\n")
                other.wait()

        monkeypatch.setattr(bounded_folder.time, "sleep", sleep)
        found = read(tmp_path, teacher())
    assert len(waits) == 1
    assert computed == (["computed"] if end == "killed" else [])
    expected = predict_rows(teacher().model, DATA.modalities["inputs"], DATA.splits["train"], CPU)
    assert torch.equal(found.logits, expected.logits)


def test_one_that_computes_for_too_long_is_not_waited_for(
    tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_folder, "MAKE_WAIT_S", 0.05)
    model = teacher()
    key = teacher_cache.outputs_key(model, DATA, DATA.splits["train"], CPU)
    with BoundedFolder(tmp_path, 1 << 20).making(f"{key}.safetensors") as has_waited:
        assert not has_waited
        read(tmp_path, model)
        assert len(computed) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_a_folder_that_takes_no_files_costs_time_only(tmp_path: Path, computed: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    warnings: list[str] = []
    read(tmp_path / "file" / "cache", teacher(), warnings)
    assert len(computed) == 1
    assert "could not be cached" in warnings[0]
