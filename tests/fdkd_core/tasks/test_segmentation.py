"""Figures of masks, against their definitions; and what each sample adds to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fdkd_core.losses.pixels import pixel_cross_entropy
from fdkd_core.spec.figures import figure
from fdkd_core.spec.tasks import TASK_FACTS, VOID
from fdkd_core.tasks import segmentation
from fdkd_core.tasks.segmentation import Segmentation

TASK = Segmentation()


def drawn(rows: int = 12, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Logits [N, C, 4, 5] and masks [N, 8, 10], about half of whose pixels they have right."""
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, classes, (rows, 8, 10)).astype(np.uint8)
    logits = rng.normal(size=(rows, classes, 4, 5)).astype(np.float32)
    for row, mask in enumerate(masks):
        logits[row] += 1.5 * (mask[::2, ::2] == np.arange(classes)[:, None, None])
    masks[rng.random(masks.shape) < 0.1] = VOID
    return logits, masks


def test_figures_by_hand() -> None:
    """Four pixels of class 0, of which one is taken for 1; one of class 1, found; class 2 occurs nowhere."""
    guess = np.array([[0, 0, 0, 1, 1, 2]])
    mask = np.array([[[0, 0, 0, 0, 1, VOID]]], np.uint8)
    logits = 9.0 * np.eye(3, dtype=np.float32)[guess].transpose(2, 0, 1)[None]
    found = TASK.metrics(TASK.answers(logits, mask), mask)
    assert found.mean_iou == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found.mean_pixel_accuracy == pytest.approx((3 / 4 + 1) / 2)
    assert found.pixel_accuracy == pytest.approx(4 / 5)
    assert found.num_samples == 1


def test_figures_are_those_of_a_confusion_matrix() -> None:
    logits, masks = drawn()
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(logits), size=(8, 10), mode="bilinear", align_corners=False
    )
    confusion = np.zeros((3, 3))
    for guess, label in zip(enlarged.argmax(dim=1).numpy().ravel(), masks.ravel(), strict=True):
        if label != VOID:
            confusion[label, guess] += 1
    hits = np.diag(confusion)
    found = TASK.metrics(TASK.answers(logits, masks), masks)
    assert found.mean_iou == pytest.approx((hits / (confusion.sum(0) + confusion.sum(1) - hits)).mean())
    assert found.mean_pixel_accuracy == pytest.approx((hits / confusion.sum(1)).mean())
    assert found.pixel_accuracy == pytest.approx(hits.sum() / confusion.sum())
    loss = pixel_cross_entropy(torch.from_numpy(logits), torch.from_numpy(masks)).mean()
    assert found.loss == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("name", [*TASK_FACTS["segmentation"].metrics, "loss"])
def test_shares_are_influences(name: str) -> None:
    """What leaving a sample out changes, to first order: of many samples, nearly all of it."""
    logits, masks = drawn(rows=60)
    kept = TASK.answers(logits, masks)
    shares = TASK.shares(name, kept, masks)
    whole = figure(TASK.metrics(kept, masks), name)
    sign = -1.0 if name == "loss" else 1.0
    left_out = np.array(
        [figure(TASK.metrics(np.delete(kept, row, 0), np.delete(masks, row, 0)), name) for row in range(60)]
    )
    changes = sign * (whole - left_out) * 59
    centred = shares - shares.mean()
    assert centred == pytest.approx(changes - changes.mean(), abs=0.1 * np.abs(centred).max())
    if name == "loss":
        assert -shares.mean() == pytest.approx(whole)
    else:
        assert shares.mean() == pytest.approx(0.0, abs=1e-12)


def test_what_is_kept_does_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, masks = drawn()
    whole = TASK.answers(logits, masks)
    assert whole.shape == (12, 10)
    parts = [TASK.answers(logits[i : i + 5], masks[i : i + 5]) for i in (0, 5, 10)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)
    monkeypatch.setattr(segmentation, "SCORES_AT_ONCE", 1)  # a sample at a time
    np.testing.assert_allclose(TASK.answers(logits, masks), whole, rtol=1e-6)


def test_a_split_without_labels_has_figures() -> None:
    logits, masks = drawn(3)
    masks[:] = VOID
    kept = TASK.answers(logits, masks)
    found: Any = TASK.metrics(kept, masks)
    assert (found.mean_iou, found.mean_pixel_accuracy, found.pixel_accuracy, found.loss) == (0, 0, 0, 0)
    assert not TASK.shares("mean_iou", kept, masks).any()


def test_scores_that_are_no_numbers_are_refused() -> None:
    logits, masks = drawn(3)
    logits[1, 0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError):
        TASK.metrics(TASK.answers(logits, masks), masks)
