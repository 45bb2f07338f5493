"""The speed benchmark runs, and its yardstick computes what ours computes."""

from __future__ import annotations

import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fdkd_core.methods.base import MethodContext, StepViews
from fdkd_core.methods.fd_cmkd import FDCMKD
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
AUTHORS_SPEC = FDCMKDSpec(reduction="mean", log_scale=1.0, low_weight=1, high_weight=1)
HEADS = {
    "shared_low": ("shared", "low"),
    "shared_high": ("shared", "high"),
    "student_low": ("heads", "low"),
    "student_high": ("heads", "high"),
}


@pytest.fixture(scope="module")
def authors_step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("authors_step", SPEED / "authors_step.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SPEED / "step.py"), "--threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dim", [512, 33, 4])
def test_the_authors_losses_are_ours(authors_step: ModuleType, dim: int) -> None:
    torch.manual_seed(0)
    ours = FDCMKD(AUTHORS_SPEC, MethodContext(student_dim=dim, teacher_dim=dim, num_classes=7)).double()
    theirs = authors_step.Heads(dim, 7).double()
    for name, (group, band) in HEADS.items():
        getattr(theirs, name)[1].load_state_dict(getattr(ours, group)[band].linear.state_dict())
    features = torch.rand(16, dim, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(16, dim, dtype=torch.float64)
    logits = torch.zeros(16, 7, dtype=torch.float64)
    labels = torch.randint(7, (16,))

    views = StepViews(ModelOutput(features, logits), ModelOutput(teacher, logits), labels)
    ours_found = {name: term.mean() for name, term in ours.terms(views).items()}
    theirs_found = authors_step.loss_terms(features, teacher, labels, theirs)

    assert ours_found.keys() == theirs_found.keys()
    for name, term in ours_found.items():
        torch.testing.assert_close(term, theirs_found[name], rtol=1e-10, atol=0, msg=name)
        (ours_gradient,) = torch.autograd.grad(term, features, retain_graph=True)
        (theirs_gradient,) = torch.autograd.grad(theirs_found[name], features, retain_graph=True)
        torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-8, atol=1e-14, msg=name)


@pytest.mark.parametrize("dim", [512, 33])
def test_the_authors_bands_are_the_whole_but_its_mean(authors_step: ModuleType, dim: int) -> None:
    features = torch.rand(3, dim, dtype=torch.float64)
    low, high = authors_step.bands(features)
    torch.testing.assert_close(low + high, features - features.mean(dim=1, keepdim=True))


def test_the_authors_step_trains_the_student_and_never_the_teacher(authors_step: ModuleType) -> None:
    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.classifier = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)

        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = torch.relu(self.body(inputs))
            return features, self.classifier(features)

    torch.manual_seed(0)
    student, teacher = Tiny(), Tiny()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    training = authors_step.AuthorsTraining(student, teacher, authors_step.Heads(8, 3), torch.device("cpu"))
    inputs, labels = torch.randn(12, 6), torch.arange(12) % 3
    losses = [training.step(inputs, inputs, labels) for _ in range(100)]
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


@pytest.mark.long
@pytest.mark.timeout(900)  # a process per variant imports torch, on machines that may be busy
def test_one_run_gives_every_figure(tmp_path: Path) -> None:
    tiny = ["--width", "16", "--steps", "2", "--rounds", "1", "--batch", "4", "--device", "cpu"]
    done = run_benchmark(*tiny, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr

    with (tmp_path / "step.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["measure"], set()).add(row["variant"])
        for name in ("median", "q1", "q3", "count"):
            value = float(row[name])
            assert math.isfinite(value), row
            assert value > 0, row
        assert float(row["q1"]) <= float(row["median"]) <= float(row["q3"]), row

    steps = {
        "plain student", "FD-CMKD, cached teacher", "FD-CMKD, teacher in the step", "authors' step",
        "authors' step, default layout", "teacher's forward alone",
    }  # fmt: skip
    fits = {"plain student", "FD-CMKD, cached teacher", "plain image student"}
    losses = {
        "cross-entropy alone", "feature MSE", "band split alone", "FD-CMKD, distances only",
        "FD-CMKD, all terms", "authors' terms",
    }  # fmt: skip
    checked = {"FD-CMKD", "FD-CMKD, authors' reduction", "feature MSE", "logit KD"}
    assert found == {
        "peak_memory": steps | {"imports, data and student batch"},
        "step_time": steps,
        "samples_per_s": steps,
        "ratio_to_plain": steps,
        "wait_share": fits,
        "fit_step_time": fits,
        "loss_time": losses,
        "ratio_to_cross_entropy": losses,
        "loss_error_fp32": checked,
        "loss_error_bf16": checked,
    }
    ratio = {row["variant"]: float(row["median"]) for row in rows if row["measure"] == "ratio_to_plain"}
    assert ratio["plain student"] == 1
    text = (tmp_path / "step.md").read_text()
    for words in ("## Steps", "## Machine", "- CPU: ", "- torch: ", "--width 16"):
        assert words in text
    assert "authors' step, default layout" in done.stdout


@pytest.mark.long
def test_the_roofline_is_told_on_a_cpu_too(tmp_path: Path) -> None:
    tiny = ["--width", "16", "--batch", "8", "--steps", "2", "--rounds", "1", "--matrix", "128"]
    command = [sys.executable, str(SPEED / "roofline.py"), "--device", "cpu", "--threads", "1", *tiny]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "roofline-cpu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["plain student", "FD-CMKD, cached teacher"]
    for row in rows:
        assert float(row["achieved_tflops"]) > 0
        share = float(row["achieved_tflops"]) / float(row["roof_tflops"])
        assert float(row["share_of_roof"]) == pytest.approx(share)
    assert "waiting for a batch" in (tmp_path / "roofline-cpu.md").read_text()


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    done = run_benchmark("--device", "cuda", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "there is no GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_width_that_breaks_the_convolution_library_is_refused(tmp_path: Path) -> None:
    done = run_benchmark("--width", "4", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "--width must be at least 16" in done.stderr
