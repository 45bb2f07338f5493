"""Customised cross-modal distillation: teacher and student train together."""

from __future__ import annotations

import copy

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fdkd_core.losses.decoupled import non_target_kl
from fdkd_core.losses.logits import cross_entropy, tempered_kl
from fdkd_core.losses.ranks import kendall_tau
from fdkd_core.methods.base import Method, MethodContext, StepViews
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import C2KDSpec
from fdkd_core.spec.catalogue import class_problems


class ProxyHead(nn.Module):
    """Linear, leaky ReLU, Linear: other logits from a pooled feature."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.1), nn.Linear(dim, num_classes))

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits of shape [B, classes]."""
        logits: Tensor = self.layers(features_BD)
        return logits


class C2KD(Method):
    """CE + proxy * (KL network <-> proxy, of both) + cross * NKL(proxies) + teacher * CE of the teacher.

    Each KL runs both ways, the side that teaches held constant. NKL is over the classes that are not the
    sample's own, and only of samples whose two proxies rank the classes alike (Kendall's tau above a bound);
    the others count as 0.

    The teacher is a copy, trained from the inputs of the batch and part of the checkpoint; the teacher that
    the job was given stays as it is, and the copy is never exported. Its batch norms run on the batch's
    statistics, as the authors' do, so that they follow a network that moves; on a single row, of which no
    statistics can be made, they take the running ones. Its dropout stays off: it would draw from the
    generator of the student's, whose masks are to be the control's.

    References:
        Huo et al., "C2KD: Bridging the Modality Gap for Cross-Modal Knowledge Distillation", CVPR 2024, and
        the authors' code, from which factors, temperature and the bound on tau are. We differ in: proxies on
        the pooled feature, without batch norm, where theirs sit on the feature map of the third of four
        stages; the own class is taken out of NKL's softmax, where their code sets its logit to 0.

    Raises:
        ValueError: There are fewer than 3 classes, or no teacher to copy.
    """

    needs_teacher_inputs = True

    def __init__(self, spec: C2KDSpec, context: MethodContext) -> None:
        super().__init__()
        for problem in class_problems(spec, context.num_classes):
            raise ValueError(problem.detail)
        if context.teacher_model is None:
            raise ValueError("c2kd trains the teacher further: it needs the network, not its outputs alone")
        self.weights = {
            "student_proxy": spec.proxy_weight,
            "teacher_proxy": spec.proxy_weight,
            "cross": spec.cross_weight,
            "teacher": spec.teacher_weight,
        }
        self.temperature = spec.temperature
        self.min_rank_agreement = spec.min_rank_agreement
        self.student_proxy = ProxyHead(context.student_dim, context.num_classes)
        self.teacher_proxy = ProxyHead(context.teacher_model.feature_dim, context.num_classes)
        self.teacher = copy.deepcopy(context.teacher_model).requires_grad_(True)

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """`student_proxy`, `teacher_proxy` and `cross`, each both ways, and `teacher`, its task loss."""
        assert views.teacher_inputs is not None
        student, teacher = views.student, self._teacher_output(views.teacher_inputs)
        student_proxy_BC = self.student_proxy(student.features)
        teacher_proxy_BC = self.teacher_proxy(teacher.features)
        tau_B = kendall_tau(student_proxy_BC.detach(), teacher_proxy_BC.detach())
        passed_B, taught_B = (
            non_target_kl(learner, other.detach(), views.labels, temperature=self.temperature)
            for learner, other in (
                (student_proxy_BC, teacher_proxy_BC),
                (teacher_proxy_BC, student_proxy_BC),
            )
        )
        return {
            "student_proxy": self._both_ways(student.logits, student_proxy_BC),
            "teacher_proxy": self._both_ways(teacher.logits, teacher_proxy_BC),
            "cross": (tau_B > self.min_rank_agreement) * (passed_B + taught_B),
            "teacher": cross_entropy(teacher.logits, views.labels),
        }

    def _both_ways(self, first_BC: Tensor, second_BC: Tensor) -> Tensor:
        return tempered_kl(first_BC, second_BC.detach(), temperature=self.temperature) + tempered_kl(
            second_BC, first_BC.detach(), temperature=self.temperature
        )

    def _teacher_output(self, inputs: Tensor) -> ModelOutput:
        self.teacher.eval()
        for module in self.teacher.modules():
            if isinstance(module, _BatchNorm):
                module.train(len(inputs) > 1)
        output: ModelOutput = self.teacher(inputs)
        return output
