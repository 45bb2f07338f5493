"""What a student is shown of its teacher: the pairs there are, class means, and the fakes that are controls.

Everything is a pure function of the teacher's outputs for the training rows and a seed, so that a resumed run
sees the same. Shape legend: N training rows, D channels of the teacher's feature, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fdkd_core.models.base import ModelOutput
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.classification import Classification

_ROWS_AT_ONCE = 64
"""Whose losses are computed at a time: of maps, each takes as much memory as its mask has classes."""


class TeacherRows(NamedTuple):
    """The teacher's side of every training row."""

    outputs: ModelOutput
    """[N, D] and [N, C], or maps of them; zeros where there is none, so that nothing leaks from rows that are
    not paired."""
    paired: Bool[Tensor, " n"] | None
    """Which rows have one; None when all have."""
    num_pairs: int
    """Rows with a view of their own, which made the means where the pairing is by class."""
    answers: NDArray[Any] | None = None
    """The teacher's answers as labels of the task, [N, ...], where the data have rows without a label."""


def view_rows(
    outputs: ModelOutput,
    labels: Int[Tensor, " n"],
    num_classes: int,
    *,
    pairing: Literal["instance", "class"] = "instance",
    paired_fraction: float = 1.0,
    seed: int = 0,
    present: Bool[Tensor, " n"] | None = None,
) -> TeacherRows:
    """What each training row is taught with.

    Args:
        outputs: Of the teacher for all training rows, faked already where they are to be.
        labels: Class of each; the same for all where rows have no class of their own.
        num_classes: C.
        pairing: `instance`: a row's own outputs; `class`: the means of its class over the paired rows.
        paired_fraction: Share in (0, 1] of the rows with a teacher's view that keep it; see `paired_rows`.
        seed: Of that choice.
        present: Rows that have a teacher's view at all; None when all have. Others are never looked at.
    """
    paired = rows_with_teacher(labels, paired_fraction, seed, present)
    if pairing == "class":
        everyone = torch.ones(len(labels), dtype=torch.bool) if paired is None else paired
        taught = torch.isin(labels, labels[everyone])  # a class without a single pair has no mean
        means = class_means(outputs, labels, num_classes, everyone)
        return TeacherRows(means, None if bool(taught.all()) else taught, int(everyone.sum()))
    if paired is None or bool(paired.all()):
        return TeacherRows(outputs, None, len(labels))
    hidden = ModelOutput(*(part.masked_fill(_beside(~paired, part), 0.0) for part in outputs))
    return TeacherRows(hidden, paired, int(paired.sum()))


def rows_with_teacher(
    labels: Int[Tensor, " n"], paired_fraction: float, seed: int, present: Bool[Tensor, " n"] | None
) -> Bool[Tensor, " n"] | None:
    """Which rows have a view of the teacher of their own; None when all have. Arguments as of `view_rows`."""
    if paired_fraction == 1.0:
        return present
    paired = torch.zeros(len(labels), dtype=torch.bool) if present is None else torch.zeros_like(present)
    candidates = torch.arange(len(labels)) if present is None else present.nonzero().squeeze(1)
    paired[candidates[paired_rows(labels[candidates], paired_fraction, seed)]] = True
    return paired


def confidence_weights(
    teachers: Sequence[TeacherRows], labels: Sequence[Tensor], task: Task | None = None
) -> Float[Tensor, "k n"]:
    """How much each row counts with each teacher: more, the surer the teacher is of the row's label.

    w_k = m * exp(-CE_k) / sum over j of exp(-CE_j), over the m teachers that have a view of the row; CE_k is
    the cross-entropy of teacher k's logits on the label, or what else is the loss of the task. A row's
    weights have the mean 1; 0 stands where a teacher has no view.

    Args:
        teachers: At least one.
        labels: For each teacher those of all rows, as the task has them. They are the same but where rows
            have none: there each teacher is judged by its own answer, since by another's it would lose to it.
        task: None for classification.

    References:
        Zhang et al., "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022, whose weights are
        (1 - softmax(CE)) / (K - 1). A softmax of -CE is the posterior of the teachers under equal priors,
        and for two teachers the same.
    """
    loss = (task or Classification()).loss
    scores = []
    for rows, own in zip(teachers, labels, strict=True):
        parts = (torch.split(part, _ROWS_AT_ONCE) for part in (rows.outputs.logits, own))
        score = torch.cat([-loss(logits.double(), found) for logits, found in zip(*parts, strict=True)])
        scores.append(score if rows.paired is None else score.masked_fill(~rows.paired, -torch.inf))
    stacked = torch.stack(scores)
    # Of a row that no teacher speaks about, minus infinity minus itself is no number.
    shares = stacked.softmax(dim=0).nan_to_num(0.0)
    return (shares * stacked.isfinite().sum(dim=0)).float()


def scattered(outputs: ModelOutput, present: Bool[Tensor, " n"]) -> ModelOutput:
    """Outputs of the rows that are present, in their places among all rows; zeros elsewhere."""
    if bool(present.all()):
        return outputs
    places = present.nonzero().squeeze(1)
    return ModelOutput(
        *(part.new_zeros(len(present), *part.shape[1:]).index_copy_(0, places, part) for part in outputs)
    )


def _beside(chosen: Bool[Tensor, " n"], part: Tensor) -> Tensor:
    """The choice of rows with as many axes as there are."""
    return chosen.reshape(-1, *(1 for _ in part.shape[1:]))


def class_means(
    outputs: ModelOutput, labels: Int[Tensor, " n"], num_classes: int, paired: Bool[Tensor, " n"]
) -> ModelOutput:
    """The mean of features and logits over the paired rows of a class, for every row of it.

    Args:
        outputs: [N, D] and [N, C].
        labels: Class of each row, 0..num_classes-1.
        num_classes: Classes.
        paired: Rows that count.

    Returns:
        [N, D] and [N, C]; zeros for the rows of a class without a paired row.
    """
    members = functional.one_hot(labels, num_classes).double() * paired[:, None]
    counts = members.sum(dim=0).clamp(min=1.0)

    def means(part: Tensor) -> Tensor:
        # In float64, as the mean of equal rows must be that row, and chosen rather than multiplied: a value
        # that is not finite in a row that does not count must not count either.
        values = part.double().masked_fill(~paired[:, None], 0.0)
        return ((members.T @ values) / counts[:, None]).to(part.dtype)[labels]

    return ModelOutput(means(outputs.features), means(outputs.logits))


def paired_rows(labels: Int[Tensor, " n"], fraction: float, seed: int) -> Bool[Tensor, " n"]:
    """Chooses the rows that keep their teacher: the same share of every class, and at least one of each.

    With one seed, the rows of a larger fraction contain those of a smaller one.

    Args:
        labels: Class of each row.
        fraction: Share of the rows, in (0, 1]; of a class of n rows, round(fraction * n), halves up.
        seed: Of the choice.

    Raises:
        ValueError: `fraction` is out of range.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"the paired fraction must lie in (0, 1], found {fraction}")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    order = torch.from_numpy(_generator(seed, "paired").permutation(len(labels)))
    for label in torch.unique(labels):
        members = order[labels[order] == label]
        chosen[members[: max(1, int(fraction * len(members) + 0.5))]] = True
    return chosen


def shuffled(outputs: ModelOutput, seed: int) -> ModelOutput:
    """The outputs with every row's exchanged for another row's: a teacher that looks at the wrong sample.

    Args:
        outputs: [N, D] and [N, C].
        seed: Of the exchange.

    Raises:
        ValueError: There are fewer than two rows.
    """
    rows = shuffled_rows(len(outputs.features), seed)
    return ModelOutput(*(part[rows] for part in outputs))


def shuffled_rows(num_rows: int, seed: int) -> Int[Tensor, " n"]:
    """Which row each row gets in place of its own; for methods that look at the teacher's inputs.

    Raises:
        ValueError: There are fewer than two rows.
    """
    if num_rows < 2:
        raise ValueError(f"pairs can be shuffled among at least 2 rows, found {num_rows}")
    return _cycle(num_rows, seed, "shuffled")


def permuted(outputs: ModelOutput, seed: int) -> ModelOutput:
    """The outputs with the feature's channels in another order, the same for all rows; logits untouched.

    Every channel moves, where there are two. What depends on the order of channels, as a split into
    frequency bands does, sees noise; distances as such do not change.
    """
    return outputs._replace(features=outputs.features[:, _cycle(outputs.features.shape[1], seed, "permuted")])


def _cycle(count: int, seed: int, stream: str) -> Tensor:
    """A random permutation that is a single cycle: uniform among those, and nothing stays where it is."""
    order = _generator(seed, stream).permutation(count)
    target = np.empty(count, dtype=np.int64)
    target[order] = np.roll(order, -1)
    return torch.from_numpy(target)


def _generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *stream.encode()))))
