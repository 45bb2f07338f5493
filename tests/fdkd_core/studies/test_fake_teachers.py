from __future__ import annotations

import pytest
import torch

from fdkd_core.models.base import ModelOutput
from fdkd_core.studies.fake_teachers import another_row, permuted, shuffled


def outputs(rows: int = 7, dim: int = 5) -> ModelOutput:
    features = torch.arange(rows * dim, dtype=torch.float32).reshape(rows, dim)
    return ModelOutput(features, 100 + torch.arange(rows * 3, dtype=torch.float32).reshape(rows, 3))


@pytest.mark.parametrize("rows", [2, 3, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_row_has_another_one_and_each_once(rows: int, seed: int) -> None:
    other = another_row(rows, seed)
    assert sorted(other.tolist()) == list(range(rows))
    assert (other != torch.arange(rows)).all()


def test_shuffled_pairs_keep_a_samples_feature_and_logits_together() -> None:
    real, fake = outputs(), shuffled(outputs(), seed=3)
    other = another_row(7, 3)
    assert torch.equal(fake.features, real.features[other])
    assert torch.equal(fake.logits, real.logits[other])


def test_permuted_channels_are_the_same_for_all_rows_and_leave_the_logits() -> None:
    real, fake = outputs(), permuted(outputs(), seed=1)
    order = (fake.features[0] - real.features[0, 0]).long()
    assert order.tolist() != list(range(5))
    assert torch.equal(fake.features, real.features[:, order])
    assert torch.equal(fake.logits, real.logits)


def test_nothing_is_drawn_from_torchs_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    shuffled(outputs(), 0)
    permuted(outputs(), 0)
    assert torch.equal(torch.rand(1), expected)
