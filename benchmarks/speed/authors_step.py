"""The authors' training step, written plainly from the description of the method, as a yardstick.

Nothing here is shared with `fdkd_core`, so that equal losses mean equal maths and unequal times mean an
unequal step. What sets it apart from ours: the teacher runs in every step; both bands are inverted; the
signed logarithm assigns through masks; losses are means over samples and channels alike; eight heads (the
two shared ones on the four bands, two of the student alone, and the classifiers of both models).

References:
    Liu et al., "Distilling Cross-Modal Knowledge via Feature Disentanglement", AAAI 2026. Cutoff 1/2, SGD
    with lr 0.01 and momentum 0.9, all weights 1.

Shape legend: B samples, D channels, K = D // 2 + 1 bins of the real FFT.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LR, MOMENTUM = 0.01, 0.9


def bands(features_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Low band (bins 1..c) and high band (bins c+1..K-1), each by an inverse FFT of its own."""
    dim = features_BD.shape[1]
    spectrum_BK = torch.fft.rfft(features_BD, dim=1)
    cutoff = (spectrum_BK.shape[1] - 1) // 2
    low_BK, high_BK = torch.zeros_like(spectrum_BK), torch.zeros_like(spectrum_BK)
    low_BK[:, 1 : cutoff + 1] = spectrum_BK[:, 1 : cutoff + 1]
    high_BK[:, cutoff + 1 :] = spectrum_BK[:, cutoff + 1 :]
    return torch.fft.irfft(low_BK, n=dim, dim=1), torch.fft.irfft(high_BK, n=dim, dim=1)


def standardise(band_BD: Tensor) -> Tensor:
    """Each sample divided by its own L2 norm."""
    scaled_BD: Tensor = band_BD / band_BD.norm(dim=1, keepdim=True).clamp_min(1e-8)
    return scaled_BD


def signed_log(band_BD: Tensor) -> Tensor:
    """sign(x) * log(1 + |x|), by assignment where x is positive and where it is negative."""
    logged_BD = torch.zeros_like(band_BD)
    positive_BD, negative_BD = band_BD > 0, band_BD < 0
    logged_BD[positive_BD] = torch.log(1 + band_BD[positive_BD])
    logged_BD[negative_BD] = -torch.log(1 - band_BD[negative_BD])
    return logged_BD


class Heads(nn.Module):
    """The four classifiers of bands: two shared by teacher and student, two of the student alone."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.shared_low = nn.Sequential(nn.ReLU(), nn.Linear(dim, num_classes))
        self.shared_high = nn.Sequential(nn.ReLU(), nn.Linear(dim, num_classes))
        self.student_low = nn.Sequential(nn.ReLU(), nn.Linear(dim, num_classes))
        self.student_high = nn.Sequential(nn.ReLU(), nn.Linear(dim, num_classes))


def loss_terms(student_BD: Tensor, teacher_BD: Tensor, labels_B: Tensor, heads: Heads) -> dict[str, Tensor]:
    """The terms beside the task loss, each a scalar: `low`, `high`, `align`, `heads`."""
    low_s, high_s = (standardise(band) for band in bands(student_BD))
    low_t, high_t = (standardise(band) for band in bands(teacher_BD))
    entropy = functional.cross_entropy
    return {
        "low": functional.mse_loss(low_s, low_t),
        "high": functional.mse_loss(signed_log(high_s), signed_log(high_t)),
        "align": entropy(heads.shared_low(low_t), labels_B)
        + entropy(heads.shared_low(low_s), labels_B)
        + entropy(heads.shared_high(high_t), labels_B)
        + entropy(heads.shared_high(high_s), labels_B),
        "heads": entropy(heads.student_low(low_s), labels_B) + entropy(heads.student_high(high_s), labels_B),
    }


class AuthorsTraining:
    """A student, its frozen teacher, the heads and one SGD over all that is trained.

    Args:
        student: Gives features and logits.
        teacher: Likewise; put into eval mode.
        heads: For the teacher's width, which is the student's.
        device: Where all three are.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, heads: Heads, device: torch.device) -> None:
        self.student, self.teacher, self.heads, self.device = student.train(), teacher.eval(), heads, device
        trained = [*student.parameters(), *heads.parameters()]
        self.optimizer = torch.optim.SGD(trained, lr=LR, momentum=MOMENTUM)

    def step(self, student_inputs: Tensor, teacher_inputs: Tensor, labels_B: Tensor) -> float:
        """One optimiser step; returns the loss, which a training loop prints."""
        student_inputs, labels_B = student_inputs.to(self.device), labels_B.to(self.device)
        with torch.no_grad():
            teacher_BD, _ = self.teacher(teacher_inputs.to(self.device))
        student_BD, logits_BC = self.student(student_inputs)
        terms = loss_terms(student_BD, teacher_BD, labels_B, self.heads)
        loss = functional.cross_entropy(logits_BC, labels_B) + sum(terms.values())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()
