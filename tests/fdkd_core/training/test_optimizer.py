"""Our optimisers are torch's to the bit, without the compiler that torch's would import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_job import write_small_data
from torch import nn

from fdkd_core.spec import AdamWSpec, SGDSpec
from fdkd_core.training.optimizer import build_optimizer, set_learning_rate

CASES: list[tuple[Any, Any]] = [
    (SGDSpec(lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (
        SGDSpec(lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True),
    ),
    (AdamWSpec(lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01)),
]


def trained(optimizer_of: Any, steps: int, state: Any = None) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = optimizer_of(model.parameters())
    if state is not None:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
    for step in range(steps):
        set_learning_rate(optimizer, 0.1 / (step + 1))
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(4, 5)).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(("spec", "plain"), CASES, ids=["sgd", "nesterov", "adamw"])
def test_steps_and_states_are_those_of_torch(spec: Any, plain: Any) -> None:
    ours, theirs = trained(lambda p: build_optimizer(spec, p), 5), trained(plain, 5)
    for mine, reference in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(mine, reference)
        assert mine.requires_grad
    saved = (ours[0].state_dict(), ours[1].state_dict())
    assert saved[1]["param_groups"] == theirs[1].state_dict()["param_groups"]
    resumed = trained(lambda p: build_optimizer(spec, p), 3, saved)[0]
    reference_resumed = trained(plain, 3, (theirs[0].state_dict(), theirs[1].state_dict()))[0]
    for mine, reference in zip(resumed.parameters(), reference_resumed.parameters(), strict=True):
        assert torch.equal(mine, reference)


def test_training_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """The compiler, ONNX, parquet: each would cost every attempt its share of a second."""
    data = write_small_data(tmp_path / "small.npz")
    script = f"""
import sys
from pathlib import Path
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from small_job import small_spec
options = RunOptions(device="cpu", threads=1)
result = run(small_spec(), Path({str(data)!r}), Path({str(tmp_path / "out")!r}), options=options)
print(result.bundle)
print(*sys.modules)
"""
    support = Path(__file__).parents[2] / "support"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": f"{support}:{Path.cwd()}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    first, modules = found.stdout.splitlines()
    assert first == "student"
    assert set(modules.split()).isdisjoint(
        {"torch._dynamo", "sympy", "onnx", "onnxruntime", "onnxscript", "pyarrow"}
    )
