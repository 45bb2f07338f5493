"""How a model is trained: optimiser, schedule, budget, selection."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.measures import SelectBy
from fdkd_core.spec.strict import StrictModel

LearningRate = Annotated[float, Field(gt=0.0, le=100.0)]
WeightDecay = Annotated[float, Field(ge=0.0, le=1.0)]


class SGDSpec(StrictModel):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.1
    """Of 0.02, 0.05, 0.1 and 0.2 the last two were best on validation, 0.02 clearly worse; 0.1 is kinder to
    networks without batch norm (docs/decisions/0008 has the figures behind the other defaults too)."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """The authors' value."""
    weight_decay: WeightDecay = 0.0
    """The authors' value; 1e-3 made no difference."""
    nesterov: bool = False
    """Look ahead along the momentum; off, as the authors. Not measured."""


class AdamWSpec(StrictModel):
    """AdamW (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    lr: LearningRate = 1e-3
    """torch's own default; try 3e-3 too for small networks."""
    weight_decay: WeightDecay = 1e-2
    """torch's own default."""


OptimizerSpec = Annotated[SGDSpec | AdamWSpec, Field(discriminator="name")]


class PolySpec(StrictModel):
    """lr * (m + (1 - m) * (1 - step/total)^power), m being `min_lr_frac`: the authors' schedule, per step.

    Steps count from the end of the warm-up.
    """

    name: Literal["poly"] = "poly"
    power: Annotated[float, Field(gt=0.0, le=10.0)] = 0.9
    """The authors' value; nearly a straight line."""
    min_lr_frac: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """The authors end at a hundredth of their first rate."""
    warmup_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of all steps over which lr rises linearly from 0; none, as the authors. Not
    measured."""


class CosineSpec(StrictModel):
    """Half a cosine from lr to `min_lr_frac` of lr."""

    name: Literal["cosine"] = "cosine"
    min_lr_frac: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Down to zero, as the schedule is published (Loshchilov and Hutter 2017)."""
    warmup_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of all steps over which lr rises linearly from 0; none, as the authors. Not
    measured."""


class ConstantSpec(StrictModel):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"
    warmup_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of all steps over which lr rises linearly from 0; none, as the authors. Not
    measured."""


ScheduleSpec = Annotated[PolySpec | CosineSpec | ConstantSpec, Field(discriminator="name")]


class TrainingSpec(StrictModel):
    """Budget and recipe of one training run."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 20
    """A budget, not an optimum: half of it cost 1.5 points on validation, twice of it gained 0.6."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    """The authors' value; 32 was the same and 128 no better on validation. Not more than there are
    training rows."""
    optimizer: OptimizerSpec = SGDSpec()
    """SGD, as the authors; AdamW was 1.6 points worse on validation."""
    schedule: ScheduleSpec = PolySpec()
    """poly, as the authors; cosine was the same, a constant rate not better beyond noise."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides initial weights, batch order, augmentation and dropout. Fixed, so that equal jobs give
    equal results."""
    augment: Literal["none", "light", "strong"] = "light"
    """Seeded augmentation of the training inputs of the model being trained; a teacher's view during
    distillation is never augmented, so that its outputs are computed once. `none` was the same within
    noise on validation, `strong` no better. Where labels are masks, light and range change but nothing is
    shifted."""
    select_by: SelectBy | None = None
    """Validation figure that picks the epoch whose weights are kept; the earliest wins a tie. Null: the main
    one of the task, of classification `accuracy`, which is what most people ask for; take macro_f1 where
    classes are unequal."""
    patience_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Stop after this many epochs without a better validation figure; null trains to the end, so that
    student and control get the same budget."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What the network computes in; losses are always in fp32. `auto`: on GPUs bf16 where a short probe at
    the start finds it faster, for trainings that are long enough; on CPUs fp32, since on those without native
    bf16 it is tens of times slower."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the network. `auto`: on GPUs where the same probe finds that it pays for the time it
    takes, never on CPUs, where it gained nothing dependable and takes a minute. `on` falls back to `off`
    where it does not work."""
    max_grad_norm: Annotated[float, Field(gt=0.0, le=1e6)] | None = None
    """Clip the global gradient norm to this; null leaves gradients alone, as the authors, so that a
    rate that is too high shows."""
    log_gradient_norms: bool = False
    """Log the gradient norm of each loss term at every logging step; off, as it costs one backward per
    term."""
    checkpoint_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """At most this many steps are lost to a crash, seconds of work for a small network; more where
    checkpoints would take over 3 % of the time (docs/decisions/0005)."""
    checkpoint_every_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 60.0
    """At most this many seconds of training are lost to a crash: a minute is worth less than the wait
    for a new worker. More, too, where checkpoints would take over 3 % of the time."""
