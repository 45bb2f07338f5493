"""Generators that go through a checkpoint, also to a machine with other GPUs."""

from __future__ import annotations

import pytest
import torch

from fdkd_core.training.randomness import random_state, restore_random_state


def test_the_same_numbers_follow() -> None:
    state = random_state()
    expected = torch.rand(5)
    restore_random_state(state)
    assert torch.equal(torch.rand(5), expected)


@pytest.mark.parametrize(("then", "now", "restored"), [(0, 2, []), (1, 2, [0]), (2, 1, [0]), (2, 2, [0, 1])])
def test_a_checkpoint_may_come_from_a_machine_with_other_gpus(
    then: int, now: int, restored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is there when this runs; what would be asked of it is looked at."""
    states = {"cpu": torch.get_rng_state(), **{f"cuda{i}": torch.full((4,), i) for i in range(then)}}
    found: dict[int, torch.Tensor] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: now)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, index: found.update({index: state}))
    restore_random_state(states)
    assert list(found) == restored
    assert all(int(state[0]) == index for index, state in found.items())
