"""Contrastive distillation.

Shape legend: B samples, E numbers of an embedding, N training rows, K of them that a step looks at.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fdkd_core.losses.contrast import log_normalizer, noise_contrast
from fdkd_core.losses.features import l2_normalize
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.spec import CRDSpec


class CRD(Method):
    """CE + w * (contrast of student anchors in the teacher's memory + of teacher anchors in the student's).

    A Linear and a division by the norm embed each side's feature. Two memories hold an embedding of every
    training row, moved towards the new one whenever the row is seen. The positive of an anchor is what the
    other side's memory holds of the same row, its negatives what it holds of rows of other classes. Both
    heads are trained; the teacher's feature is a constant.

    What a step draws is a function of seed and step counter, and memories, counter and normalisers are
    buffers: a run that resumes from a checkpoint goes on with the same bits.

    References:
        Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, eqs. 18 and 19, and
        the authors' code (memory, its momentum, Z from the first batch). We differ in how negatives are
        drawn: one set of K rows without repetition for the whole batch, from which rows of the anchor's class
        are left out, instead of K rows for each anchor. It is one matrix product instead of B K copied
        embeddings, and with N <= K all rows of other classes are negatives.

    Raises:
        ValueError: The context does not say how many training rows there are, or their labels.
    """

    memories: Tensor
    step: Tensor
    log_normalizers: Tensor
    row_labels: Tensor
    candidates: Tensor

    def __init__(self, spec: CRDSpec, context: MethodContext) -> None:
        super().__init__()
        if context.num_rows < 1 or context.labels is None:
            raise ValueError("crd remembers training rows: it needs to know their number and labels")
        self.weights = {"contrast": spec.weight}
        self.temperature = spec.temperature
        self.momentum = spec.momentum
        # Rows without a teacher are never seen: what the memories hold of them is noise.
        candidates = torch.arange(context.num_rows)
        if context.paired is not None:
            candidates = candidates[context.paired]
        self.num_rows = len(candidates)
        self.num_drawn = min(spec.negatives, self.num_rows)
        self.exclude_same_class = spec.exclude_same_class
        self.seed = context.seed
        self.student_head = nn.Linear(context.student_dim, spec.embedding_dim)
        self.teacher_head = nn.Linear(context.teacher_dim, spec.embedding_dim)
        generator = torch.Generator().manual_seed(context.seed)
        bound = math.sqrt(3.0 / spec.embedding_dim)  # norms of about 1, as in the authors' code
        shape = (2, context.num_rows, spec.embedding_dim)
        self.register_buffer("memories", bound * (2.0 * torch.rand(shape, generator=generator) - 1.0))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("log_normalizers", torch.zeros(2))
        self.register_buffer("row_labels", context.labels.clone(), persistent=False)
        self.register_buffer("candidates", candidates, persistent=False)

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`contrast`: both directions. The step's embeddings are remembered once it is computed."""
        assert views.teacher is not None
        assert views.positions is not None
        student_BE = l2_normalize(self.student_head(views.student.features))
        teacher_BE = l2_normalize(self.teacher_head(views.teacher.features))
        rows_K = self._draw()
        if self.exclude_same_class:
            is_negative_BK = views.labels[:, None] != self.row_labels[rows_K]
        else:
            is_negative_BK = views.positions[:, None] != rows_K
        # Copies, since the memories change before the backward pass.
        seen = self.memories[:, views.positions]
        others = self.memories[:, rows_K]
        contrast_B = torch.zeros(len(views.labels), device=student_BE.device)
        for side, anchor_BE in enumerate((student_BE, teacher_BE)):
            other = 1 - side  # memories are those of the student and of the teacher, in this order
            arguments = anchor_BE, seen[other], others[other], is_negative_BK
            if int(self.step) == 0:
                with torch.no_grad():
                    self.log_normalizers[side] = log_normalizer(
                        *arguments, temperature=self.temperature, num_rows=self.num_rows
                    )
            contrast_B = contrast_B + noise_contrast(
                *arguments,
                self.log_normalizers[side].clone(),
                temperature=self.temperature,
                num_rows=self.num_rows,
            )
        self._remember(views.positions, seen, torch.stack([student_BE, teacher_BE]).detach())
        return {"contrast": contrast_B}

    def _draw(self) -> Tensor:
        """The rows that this step looks at."""
        if self.num_drawn == self.num_rows:
            return self.candidates
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, int(self.step)))))
        drawn = generator.choice(self.num_rows, self.num_drawn, replace=False)
        return self.candidates[torch.from_numpy(drawn).to(self.step.device)]

    @torch.no_grad()
    def _remember(self, positions_B: Tensor, seen: Tensor, embedded: Tensor) -> None:
        moved = self.momentum * seen + (1.0 - self.momentum) * embedded
        self.memories[:, positions_B] = l2_normalize(moved.flatten(0, 1)).view_as(moved)
        self.step += 1
