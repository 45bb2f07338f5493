"""Letting a job find out on validation what to train its student with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fdkd_core.spec.methods.combine import FD_CMKD_WITH_LOGITS, CombineSpec
from fdkd_core.spec.methods.dist import DISTSpec
from fdkd_core.spec.methods.fd_cmkd import FDCMKDSpec
from fdkd_core.spec.methods.leaf import LeafMethodSpec
from fdkd_core.spec.methods.logit_kd import LogitKDSpec
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.tuning import RangeSpec

CandidateMethod = Annotated[LeafMethodSpec | CombineSpec, Field(discriminator="name")]


class AutoSpec(StrictModel):
    """Successive halving over methods, weights and learning rates, the control without a teacher among them.

    Short trainings of many configurations, longer ones of the better half, and at last the best few in full
    with fresh seeds, beside the best configuration of the control. A method is handed over only if it then
    beats the control on validation by more than its standard error, or twice that where the teacher does
    worse there than the control; else the student is the tuned control's.
    """

    name: Literal["auto"] = "auto"
    methods: Annotated[tuple[CandidateMethod, ...], Field(min_length=1, max_length=20)] = (
        LogitKDSpec(),
        DISTSpec(),
        FDCMKDSpec(),
        FD_CMKD_WITH_LOGITS,
    )
    """What is tried beside the control: logit distillation, DIST, which asks a student to agree with its
    teacher in order rather than in size, and this project's method, alone and with logits. Name more if you
    have the time: every method takes the same share of the trials."""
    trials: Annotated[int, Field(ge=2, le=1000)] = 20
    """Budget: configurations in all, shared equally among the methods and the control, at least one for each.
    20 is four for each of the five; with the final runs it costs about 19 trainings in full."""
    minutes: Annotated[float, Field(gt=0.0, le=100_000.0)] | None = None
    """Budget in wall time of the search, that is of all trainings of students. A teacher that is trained
    first does not count: it has epochs of its own, and the same minutes buy the same search where it was
    given. By what the first round of trainings took it is planned what fits: fewer configurations, then fewer
    finalists, seeds and folds, down to one round, one finalist, two seeds and three folds. Where not even
    those fit they are done all the same; a warning and the result then say so. Null: `trials` alone counts.
    What is chosen with `minutes` depends on how fast the machine is."""
    finalists: Annotated[int, Field(ge=1, le=5)] = 2
    """Configurations of methods that are trained in full, beside the control's best, of different methods as
    far as there are so many. Two, since after short trainings the first place is often luck."""
    seeds: Annotated[int, Field(ge=2, le=20)] = 3
    """Fresh seeds of each finalist. Two at least, or nothing would be known of the noise."""
    folds: Annotated[int, Field(ge=2, le=20)] | Literal["auto"] | None = "auto"
    """Judge the finalists by cross-validation: each is trained anew without each of so many parts of the
    training rows, and judged on that part; by `group` where the data have that column. It costs so many
    trainings of each finalist more. Null: by the validation split. `auto`: by five folds where validation has
    fewer than six groups (speakers, patients) and training more, since the taste of a few is not that of the
    next ones (docs/decisions/0030); else by the validation split."""
    lr: RangeSpec | None = None
    """Learning rates; as in `tuning`."""
    weight_factor: RangeSpec = RangeSpec(low=0.1, high=10.0)
    """By what a method's weights are multiplied; as in `tuning`."""
    method_parameters: bool = True
    """Search the methods' own parameters too; as in `tuning`."""
    choose: Literal["beyond_noise", "best"] = "beyond_noise"
    """Which configurations of a method go on, as in `tuning`. `beyond_noise`: the method as stated has the
    place of its best one, unless that is ahead of it by more than noise; `best`: figures alone decide."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the search."""
