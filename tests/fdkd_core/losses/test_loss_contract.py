"""What holds for every loss of a baseline, whatever it measures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import pytest
import torch

from fdkd_core.losses import binary, contrast, correlation, decoupled, numbers, ranks, relations

Loss = Callable[..., torch.Tensor]

ON_LOGITS: dict[str, Loss] = {
    "inter_class": functools.partial(correlation.inter_class_distance, temperature=1.5),
    "intra_class": functools.partial(correlation.intra_class_distance, temperature=1.5),
    "tempered_binary_kl": functools.partial(binary.tempered_binary_kl, temperature=2.0),
    "huber": functools.partial(numbers.mean_huber, delta=1.5),
    "standardized_kl": functools.partial(correlation.standardized_kl, temperature=2.0),
}
WITH_LABELS: dict[str, Loss] = {
    "target_class_kl": functools.partial(decoupled.target_class_kl, temperature=4.0),
    "non_target_kl": functools.partial(decoupled.non_target_kl, temperature=4.0),
    "soft_target": decoupled.soft_target_cross_entropy,
    "non_target_cross_entropy": functools.partial(decoupled.non_target_cross_entropy, temperature=2.0),
    "enhanced_target": functools.partial(decoupled.enhanced_target_cross_entropy, gamma=1.5, temperature=2.0),
}
ON_FEATURES: dict[str, Loss] = {
    "channel_distance": correlation.channel_distance,
    "distance_relation": relations.distance_relation,
    "angle_relation": relations.angle_relation,
    "angle_relation in groups": functools.partial(relations.angle_relation, most_numbers=1),
}


def labelled(loss: Loss) -> Loss:
    """A loss with labels as one without: they are 0, 1, 2, 0, ..."""

    def call(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return loss(student, teacher, torch.arange(len(student)) % student.shape[1])

    return call


PAIRS = ON_LOGITS | ON_FEATURES | {name: labelled(loss) for name, loss in WITH_LABELS.items()}


def pair(batch: int, width: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 * batch + width)
    student, teacher = torch.randn(2, batch, width, generator=generator, dtype=torch.float64).to(dtype)
    return student, teacher


@pytest.mark.parametrize("name", PAIRS)
def test_gradcheck(name: str) -> None:
    student, teacher = pair(4, 3)
    assert torch.autograd.gradcheck(PAIRS[name], (student.requires_grad_(), teacher.requires_grad_()))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_fp32(name: str, dtype: torch.dtype) -> None:
    student, teacher = pair(4, 6, dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = PAIRS[name](student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, PAIRS[name](student.float(), teacher.float()), atol=0, rtol=0)


@pytest.mark.parametrize("name", PAIRS)
def test_values_follow_the_order_of_samples(name: str) -> None:
    student, teacher = pair(6, 3)
    order = torch.tensor([3, 4, 5, 0, 1, 2])  # which keeps the labels 0, 1, 2, 0, 1, 2 in their places
    order = order[torch.tensor([0, 4, 2, 3, 1, 5])]
    found = PAIRS[name](student[order], teacher[order])
    torch.testing.assert_close(found, PAIRS[name](student, teacher)[order])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize(
    "student_case", ["equal", "zero", "constant rows", "constant columns", "huge", "random"]
)
@pytest.mark.parametrize("teacher_case", ["zero", "random"])
def test_values_and_gradients_are_finite_at_the_edges(
    name: str, batch: int, width: int, student_case: str, teacher_case: str
) -> None:
    random, teacher = pair(batch, width, torch.float32)
    teacher = torch.zeros_like(teacher) if teacher_case == "zero" else teacher
    student = {
        "equal": teacher.clone(),
        "zero": torch.zeros_like(random),
        "constant rows": random[:, :1].repeat(1, width) / 3,
        "constant columns": random[:1].repeat(batch, 1) / 3,
        "huge": 1e4 * random,
        "random": random,
    }[student_case].requires_grad_()
    found = PAIRS[name](student, teacher)
    assert found.shape == (batch,)
    assert torch.isfinite(found).all()
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 1e3


@pytest.mark.parametrize("name", [*ON_LOGITS, *WITH_LABELS, "channel_distance"])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3), (3,))])
def test_shapes_must_agree(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    loss = (ON_LOGITS | WITH_LABELS | ON_FEATURES)[name]
    function, options = (loss.func, loss.keywords) if isinstance(loss, functools.partial) else (loss, {})
    labels = (torch.zeros(2, dtype=torch.int64),) if name in WITH_LABELS else ()
    with pytest.raises(ValueError, match=r"\[2, 3\] and \["):
        # The bare function, without the shape checker that tests run under.
        inspect.unwrap(function)(torch.zeros(shapes[0]), torch.zeros(shapes[1]), *labels, **options)


@pytest.mark.parametrize("loss", [relations.distance_relation, relations.angle_relation])
@pytest.mark.parametrize("shapes", [((2, 3), (3, 3)), ((2, 3), (2,)), ((2, 3, 1), (2, 3))])
def test_relations_need_the_same_samples(loss: Loss, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"as many rows.*\[2, 3"):
        inspect.unwrap(loss)(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("name", WITH_LABELS)
def test_labels_and_classes_must_fit(name: str) -> None:
    loss = WITH_LABELS[name]
    function, options = (loss.func, loss.keywords) if isinstance(loss, functools.partial) else (loss, {})
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[3\]; one label per row"):
        inspect.unwrap(function)(*torch.zeros(2, 2, 3), torch.zeros(3, dtype=torch.int64), **options)
    with pytest.raises(ValueError, match=r"at least 2 classes .*\[2, 1\]"):
        inspect.unwrap(function)(*torch.zeros(2, 2, 1), torch.zeros(2, dtype=torch.int64), **options)


def test_embeddings_memory_and_mask_must_fit() -> None:
    anchor, others = torch.zeros(2, 3), torch.zeros(5, 3)
    mask = torch.ones(2, 5, dtype=torch.bool)
    options = {"temperature": 1.0, "num_rows": 5}
    for bad in (
        (torch.zeros(2, 4), others, mask),
        (anchor, others[:, :2], mask),
        (anchor, others, mask[:, :4]),
    ):
        with pytest.raises(ValueError, match="shape"):
            inspect.unwrap(contrast.noise_contrast)(anchor, *bad, torch.tensor(0.0), **options)
        with pytest.raises(ValueError, match="shape"):
            inspect.unwrap(contrast.log_normalizer)(anchor, *bad, **options)


def test_ranks_are_of_the_same_classes() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\]"):
        inspect.unwrap(ranks.kendall_tau)(torch.zeros(2, 3), torch.zeros(2, 4))
