"""What a training step knows of the processes that take it together.

Every process takes the same batches in the same order and passes its own rows through the network. What comes
out, features and logits, is gathered, and everything behind the network (task loss, distillation terms,
weights) is computed for the whole batch by every process alike: so no loss has to know that it is computed by
several, whether it looks at one sample or across the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fdkd_core.errors import FDKDError
from fdkd_core.models.base import ModelOutput
from fdkd_core.ranks.norms import norms_over_ranks
from fdkd_core.training.randomness import seed_torch

Network = Callable[[Tensor], ModelOutput]

PHASE_ENDS, STEP, PHASE, RUN_ENDS = range(4)
"""What rank 0 says to the others."""


class Ranks:
    """The usual case: one process, for which there is nothing to share.

    `SeveralRanks` has the same methods; the loop is written for both.
    """

    rank = 0
    size = 1

    @contextmanager
    def training(self, model: nn.Module, network: Network, sample: Callable[[], Tensor]) -> Iterator[Network]:
        """Around all steps of a phase: what to call instead of the network."""
        yield network

    def begin_step(self) -> None:
        """Rank 0, before a step: the others take it too."""

    def draw_own(self, seed: int, step: int) -> None:
        """Before the forward pass: what this process draws at random in it (dropout)."""

    def own(self, rows: NDArray[Any]) -> NDArray[Any]:
        """This process's share of the rows of a batch."""
        return rows

    def gather(self, output: ModelOutput, num_rows: int) -> ModelOutput:
        """The outputs of the whole batch of `num_rows`, in its order, from those of this process's share."""
        return output

    def agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The same values for all, on which they decide whether to go on."""
        return dict(values)

    def norms(self, own: Tensor) -> Tensor:
        """Norms of gradients over the whole batch, from those over this process's rows."""
        return own

    def average_gradients(self, method: nn.Module) -> None:
        """Keeps the parameters that are the method's own the same everywhere, to the last bit."""


ALONE = Ranks()


class SeveralRanks(Ranks):
    """One of several processes of a process group, after `torch.distributed.init_process_group`.

    Args:
        rank: Of this process.
        size: How many there are.
        words: A group on the CPU with a long timeout, for all that is no gradient.
    """

    def __init__(self, rank: int, size: int, words: distributed.ProcessGroup) -> None:
        self.rank, self.size = rank, size
        self._words = words

    @contextmanager
    def training(self, model: nn.Module, network: Network, sample: Callable[[], Tensor]) -> Iterator[Network]:
        """Averages the gradients of the model over the ranks, and its batch statistics.

        Args:
            model: In training; its weights are those of rank 0 on return.
            network: What is called to run it: itself, or its compiled form.
            sample: Makes some inputs of the model.
        """
        with without_idle_weights(model, sample()), norms_over_ranks(model, self._words):
            parallel = DistributedDataParallel(cast(nn.Module, network), forward_sync_buffers=False)
            try:
                yield parallel
            except FDKDError:  # raised between two steps, or by all ranks in the same step
                self._say_phase_ends()
                raise
            self._say_phase_ends()

    def begin_step(self) -> None:
        """Says that there is another step."""
        self.say(STEP)

    def say(self, word: int, number: int = 0) -> None:
        """Rank 0 tells the others what comes next; they wait in `hear`."""
        distributed.broadcast(torch.tensor([word, number]), 0, group=self._words)

    def hear(self) -> tuple[int, int]:
        """Waits for what rank 0 says next: a word and a number."""
        told = torch.zeros(2, dtype=torch.int64)
        distributed.broadcast(told, 0, group=self._words)
        word, number = told.tolist()
        return int(word), int(number)

    def draw_own(self, seed: int, step: int) -> None:
        """Masks are a function of seed, step and rank: there is no state of several generators to keep."""
        seed_torch(seed, f"dropout of step {step}, rank {self.rank}")

    def own(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Consecutive rows; the first ranks have one more where the batch cannot be divided."""
        return np.array_split(rows, self.size)[self.rank]

    def gather(self, output: ModelOutput, num_rows: int) -> ModelOutput:
        """Each part of the output, from all ranks; gradients flow to this rank's rows."""
        lengths = [len(part) for part in np.array_split(np.empty(num_rows, np.bool_), self.size)]
        return ModelOutput(*(_gathered(part, self.rank, lengths) for part in output))

    def agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """Those of rank 0: were one rank alone to find a value infinite, the others would wait for it."""
        told = torch.tensor(list(values.values()), dtype=torch.float64)
        distributed.broadcast(told, 0, group=self._words)
        return dict(zip(values, told.tolist(), strict=True))

    def norms(self, own: Tensor) -> Tensor:
        """The root of the summed squares; `_Gather` has multiplied them."""
        squares = own.square()
        distributed.all_reduce(squares)
        return squares.sqrt() / self.size

    def average_gradients(self, method: nn.Module) -> None:
        """Every rank has computed the same gradients, on a GPU up to the order of its sums."""
        gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
        if not gradients:
            return
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.size
        parts = torch.split(together, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _say_phase_ends(self) -> None:
        if self.rank == 0:
            self.say(PHASE_ENDS)


@contextmanager
def without_idle_weights(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Takes out of the training the weights that its loss never reaches, for whose gradients all would wait.

    Some networks of transformers have such. `find_unused_parameters` would look for them in every step.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    was_training = model.training
    model.eval()
    reached = torch.autograd.grad(model(inputs).logits.sum(), weights, allow_unused=True)
    model.train(was_training)
    idle = [weight for weight, gradient in zip(weights, reached, strict=True) if gradient is None]
    for weight in idle:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in idle:
            weight.requires_grad_(True)


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all ranks.

    Every rank computes the same loss of all rows, so that each knows the whole gradient and takes its own
    rows of it. It takes them `size` times: the average over ranks, by which weights get their gradient, is
    then the sum over all rows.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, lengths: list[int]) -> Tensor:
        padded = own.new_zeros((max(lengths), *own.shape[1:]))  # shares differ by a row at most
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(found, padded)
        ctx.size, ctx.start, ctx.length = len(lengths), sum(lengths[:rank]), len(own)
        return torch.cat([rows[:length] for rows, length in zip(found, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return ctx.size * gradient[ctx.start : ctx.start + ctx.length], None, None


_gathered: Callable[[Tensor, int, list[int]], Tensor] = _Gather.apply
