from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fdkd_core.models.base import ModelOutput
from fdkd_core.teacher_views import class_means, paired_rows, permuted, shuffled, shuffled_rows, view_rows

CLASSES = 4


def rows(count: int = 40, seed: int = 0) -> tuple[ModelOutput, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    outputs = ModelOutput(
        torch.randn(count, 6, generator=generator), torch.randn(count, CLASSES, generator=generator)
    )
    return outputs, torch.randint(0, CLASSES, (count,), generator=generator)


def test_class_means_equal_their_definition() -> None:
    outputs, labels = rows()
    paired = torch.rand(40, generator=torch.Generator().manual_seed(1)) < 0.5
    found = class_means(outputs, labels, CLASSES, paired)
    for part, means in zip(outputs, found, strict=True):
        for row in range(40):
            same = [r for r in range(40) if labels[r] == labels[row] and paired[r]]
            expected = np.mean([part[r].double().numpy() for r in same], axis=0)
            np.testing.assert_allclose(means[row].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_the_mean_of_equal_rows_is_that_row() -> None:
    row = torch.randn(1, 6)
    outputs = ModelOutput(row.repeat(7, 1), torch.full((7, CLASSES), 0.1))
    found = class_means(outputs, torch.zeros(7, dtype=torch.long), CLASSES, torch.ones(7, dtype=torch.bool))
    assert torch.equal(found.features, outputs.features)
    assert torch.equal(found.logits, outputs.logits)


def test_rows_that_are_not_paired_never_count() -> None:
    outputs, labels = rows()
    paired = torch.arange(40) % 3 == 0
    before = class_means(outputs, labels, CLASSES, paired)
    outputs.features[~paired], outputs.logits[~paired] = float("nan"), float("inf")
    after = class_means(outputs, labels, CLASSES, paired)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    hidden, mask, count, _ = view_rows(outputs, labels, CLASSES, present=paired)
    assert count == int(paired.sum())
    assert torch.equal(mask, paired)
    assert all((part[~paired] == 0).all() and torch.isfinite(part).all() for part in hidden)


def test_a_class_without_a_pair_is_not_taught() -> None:
    outputs, labels = rows()
    view = view_rows(outputs, labels, CLASSES, pairing="class", present=labels != 2)
    assert torch.equal(view.paired, labels != 2)
    assert (view.outputs.features[labels == 2] == 0).all()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_the_share_is_that_of_every_class(fraction: float) -> None:
    labels = torch.tensor([0] * 100 + [1] * 10 + [3] * 2)
    chosen = paired_rows(labels, fraction, seed=3)
    for label, count in ((0, 100), (1, 10), (3, 2)):
        expected = max(1, int(fraction * count + 0.5))
        assert int(chosen[labels == label].sum()) == expected


def test_the_choice_is_seeded_and_grows() -> None:
    _, labels = rows(200)
    shares = [paired_rows(labels, fraction, seed=5) for fraction in (0.1, 0.3, 0.7, 1.0)]
    for smaller, larger in itertools.pairwise(shares):
        assert (larger | ~smaller).all()
        assert larger.sum() > smaller.sum()
    assert torch.equal(shares[1], paired_rows(labels, 0.3, seed=5))
    assert not torch.equal(shares[1], paired_rows(labels, 0.3, seed=6))
    assert shares[-1].all()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_impossible_shares_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        paired_rows(torch.zeros(4, dtype=torch.long), fraction, seed=0)


def test_shuffling_gives_every_row_another_rows_outputs() -> None:
    outputs, _ = rows()
    for seed in range(20):
        exchanged = shuffled_rows(40, seed)
        assert sorted(exchanged.tolist()) == list(range(40))
        assert (exchanged != torch.arange(40)).all()
    found = shuffled(outputs, 7)
    assert torch.equal(found.features, outputs.features[shuffled_rows(40, 7)])
    assert torch.equal(found.logits, outputs.logits[shuffled_rows(40, 7)])
    assert not torch.equal(found.features, shuffled(outputs, 8).features)
    assert shuffled_rows(2, 0).tolist() == [1, 0]
    with pytest.raises(ValueError, match="at least 2"):
        shuffled_rows(1, 0)


def test_permuting_moves_every_channel_and_nothing_else() -> None:
    outputs, _ = rows()
    found = permuted(outputs, 1)
    assert torch.equal(found.logits, outputs.logits)
    assert torch.equal(found.features.sort(dim=1).values, outputs.features.sort(dim=1).values)
    assert (found.features != outputs.features).all()
    assert torch.equal(found.features, permuted(outputs, 1).features)
    one = ModelOutput(outputs.features[:, :1], outputs.logits)
    assert torch.equal(permuted(one, 1).features, one.features)


def test_whole_pairs_are_left_alone() -> None:
    outputs, labels = rows()
    view = view_rows(outputs, labels, CLASSES)
    assert view.outputs is outputs
    assert view.paired is None
    assert view_rows(outputs, labels, CLASSES, present=torch.ones(40, dtype=torch.bool)).paired is None


def test_a_fraction_is_of_the_rows_that_have_a_teacher() -> None:
    outputs, labels = rows(400)
    present = torch.arange(400) < 200
    view = view_rows(outputs, labels, CLASSES, paired_fraction=0.5, seed=2, present=present)
    assert not view.paired[200:].any()
    assert abs(int(view.paired.sum()) - 100) <= CLASSES
    means = view_rows(outputs, labels, CLASSES, pairing="class", paired_fraction=0.5, seed=2, present=present)
    assert means.paired is None
    expected = class_means(outputs, labels, CLASSES, view.paired)
    assert torch.equal(means.outputs.features, expected.features)
