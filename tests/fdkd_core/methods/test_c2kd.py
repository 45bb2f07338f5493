from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from method_steps import build, in_float64, views
from small_job import small_spec, write_small_data
from torch.nn import functional

from fdkd_core.losses.ranks import kendall_tau
from fdkd_core.methods.base import MethodContext
from fdkd_core.methods.c2kd import C2KD
from fdkd_core.models import build_model
from fdkd_core.models.conv1d import Conv1d
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import C2KDSpec, StudentSpec, TrainSpec


def context(teacher: torch.nn.Module, classes: int = 3) -> MethodContext:
    return MethodContext(16, 8, classes, teacher_model=teacher)


def test_it_equals_its_definition() -> None:
    step, method = in_float64(views(12)), build(C2KDSpec()).double()
    terms = method.terms(step)
    with torch.no_grad():
        teacher = method.teacher(step.teacher_inputs)
        s, t = method.student_proxy(step.student.features), method.teacher_proxy(teacher.features)

        def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
            return (p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum(-1)

        kept = 0
        for i, y in enumerate(step.labels.tolist()):
            for side, network, proxy in (("student", step.student, s), ("teacher", teacher, t)):
                expected = kl(network.logits[i], proxy[i]) + kl(proxy[i], network.logits[i])
                torch.testing.assert_close(terms[f"{side}_proxy"][i], expected)
            others = [c for c in range(3) if c != y]
            agrees = bool(kendall_tau(s[i : i + 1], t[i : i + 1]) > 0)
            kept += agrees
            expected = kl(s[i, others], t[i, others]) + kl(t[i, others], s[i, others])
            torch.testing.assert_close(terms["cross"][i], expected * agrees)
        assert 0 < kept < 12
        torch.testing.assert_close(
            terms["teacher"], functional.cross_entropy(teacher.logits, step.labels, reduction="none")
        )


def test_the_side_that_teaches_is_constant() -> None:
    """Each learner's gradient is that of KL(q || softmax z) with q fixed: softmax z - q."""
    step, method = in_float64(views(12)), build(C2KDSpec()).double()
    terms = method.terms(step)
    with torch.no_grad():
        teacher = method.teacher(step.teacher_inputs)
        s, t = method.student_proxy(step.student.features), method.teacher_proxy(teacher.features)
        agrees = kendall_tau(s, t) > 0
    student_bias, teacher_bias = (p.layers[-1].bias for p in (method.student_proxy, method.teacher_proxy))

    def gradient(name: str, of: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(terms[name].sum(), of, retain_graph=True)[0]

    gap = step.student.logits.detach().softmax(1) - s.softmax(1)
    torch.testing.assert_close(gradient("student_proxy", step.student.logits), gap)
    torch.testing.assert_close(gradient("student_proxy", student_bias), -gap.sum(0))
    gap = teacher.logits.softmax(1) - t.softmax(1)
    torch.testing.assert_close(gradient("teacher_proxy", method.teacher.classifier.bias), gap.sum(0))
    torch.testing.assert_close(gradient("teacher_proxy", teacher_bias), -gap.sum(0))

    own = functional.one_hot(step.labels, 3).bool()
    others = [proxy.masked_fill(own, -math.inf).softmax(1) for proxy in (s, t)]
    gap = (others[0] - others[1])[agrees].sum(0)
    torch.testing.assert_close(gradient("cross", student_bias), gap)
    torch.testing.assert_close(gradient("cross", teacher_bias), -gap)


def test_what_is_trained_is_a_copy() -> None:
    given = Conv1d(2, 3, 4, 2, 3, 0.2).eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    method = C2KD(C2KDSpec(), context(given))
    trained = [name for name, parameter in method.named_parameters() if parameter.requires_grad]
    assert {name for name in trained if name.startswith("teacher.")} == {
        f"teacher.{name}" for name, _ in given.named_parameters()
    }
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    step = views(6)._replace(teacher_inputs=torch.randn(6, 2, 8))
    sum(term.sum() for term in method.terms(step).values()).backward()
    optimizer.step()
    assert not any(parameter.requires_grad for parameter in given.parameters())
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not torch.equal(method.teacher.classifier.weight, given.classifier.weight)


def test_batch_norm_follows_batches_and_not_single_rows() -> None:
    method = C2KD(C2KDSpec(), context(Conv1d(2, 3, 4, 2, 3, 0.2).eval()))
    running = method.teacher.blocks[0][1].running_mean
    start = running.clone()
    method.terms(views(1)._replace(teacher_inputs=torch.randn(1, 2, 8)))
    assert torch.equal(running, start)
    method.terms(views(6)._replace(teacher_inputs=torch.randn(6, 2, 8)))
    assert not torch.equal(running, start)


def test_the_students_dropout_is_the_controls() -> None:
    method = C2KD(C2KDSpec(), context(Conv1d(2, 3, 4, 2, 3, 0.9).eval()))
    before = torch.get_rng_state()
    method.train()
    method.terms(views(6)._replace(teacher_inputs=torch.randn(6, 2, 8, generator=torch.Generator())))
    assert torch.equal(torch.get_rng_state(), before)


def test_all_samples_count_where_any_order_will_do() -> None:
    assert (build(C2KDSpec(min_rank_agreement=-1.0)).terms(views(12))["cross"] > 0).sum() > (
        build(C2KDSpec()).terms(views(12))["cross"] > 0
    ).sum()


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 classes, found 2"):
        build(C2KDSpec(), classes=2)
    with pytest.raises(ValueError, match="needs the network"):
        C2KD(C2KDSpec(), MethodContext(16, 8, 3))


@pytest.mark.long
def test_a_job_hands_over_the_teacher_as_it_was(tmp_path: Path) -> None:
    """The whole program: the teacher's weights are those of a job that trains it and nothing else."""
    data, options = write_small_data(tmp_path / "small.npz"), RunOptions(device="cpu", threads=1)
    spec = small_spec(method={"name": "c2kd"}, controls={"no_teacher": False})
    alone = TrainSpec(
        kind="train",
        dataset="small",
        task=spec.task,
        student=StudentSpec(modality="clean", architecture=spec.teacher.architecture),
        training=spec.teacher.train,
        export=spec.export,
    )
    files = {}
    for job in (spec, alone):
        out = tmp_path / job.kind
        run(job, data, out, options=options)
        for folder in out.glob("*/manifest.json"):
            manifest = json.loads(folder.read_text())
            files[job.kind, folder.parent.name] = manifest["files"]["model.safetensors"]
    assert files["distill", "teacher"] == files["train", "student"]
    student = build_model(spec.student.architecture, (2, 24), 3)
    numbers = sum(tensor.numel() for tensor in student.state_dict().values())
    # Neither proxies nor the copy came along: what is left is the header.
    assert 0 < files["distill", "student"]["bytes"] - 4 * numbers < 2000
