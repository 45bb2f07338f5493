"""Distillation of answers: class scores, numbers, or embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.binary import tempered_binary_kl
from fdkd_core.losses.embeddings import embedding_distance
from fdkd_core.losses.logits import tempered_kl
from fdkd_core.losses.numbers import half_squared_error
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import LogitKDSpec
from fdkd_core.spec.tasks import TaskKind

Distance = Callable[[Tensor, Tensor], Tensor]

_DISTANCES: dict[TaskKind, Callable[[float], Distance]] = {
    "classification": lambda temperature: partial(tempered_kl, temperature=temperature),
    "multilabel": lambda temperature: partial(tempered_binary_kl, temperature=temperature),
    "regression": lambda temperature: half_squared_error,
    "retrieval": lambda temperature: embedding_distance,
    "segmentation": lambda temperature: partial(tempered_kl, temperature=temperature),
}
"""From the temperature to the distance of two answers, by task."""


class LogitKD(Method):
    """L_task + weight * the distance of the student's answers to the teacher's.

    One class a sample: T^2 KL(p_t || p_s) (Hinton, Vinyals and Dean 2015). Sets of classes: the same of each
    class against all others, added up (Yang et al. 2023). Numbers: half the mean squared difference (Ba and
    Caruana 2014), which has no temperature. Embeddings: the squared distance of those of norm 1, without one
    either. Of maps, the first at each place.
    """

    def __init__(self, spec: LogitKDSpec, context: MethodContext) -> None:
        super().__init__()
        self.weights = {"logit": spec.weight}
        self.distance = _DISTANCES[context.task.kind](spec.temperature)

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`logit`: the distance."""
        assert views.teacher is not None
        return {"logit": self.distance(views.student.logits, views.teacher.logits)}
