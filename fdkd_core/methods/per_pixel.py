"""Methods for vectors, applied to every place of a map."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fdkd_core.losses.pixels import averaged_to
from fdkd_core.methods.base import Method, StepViews
from fdkd_core.models.base import ModelOutput


class PerPixel(Method):
    """A method whose terms are of single features and answers: each place of the maps counts as a row to it.

    A term of a sample is the mean over its places. The student's maps are brought to the size of the
    teacher's first, each place of which is compared with the mean of what it covers. What a method
    standardises over the batch (PKD) is so over batch and space, as in the papers that have maps.

    Args:
        method: Without losses on labels: there are none at the size of the maps.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.weights = method.weights

    def terms(self, views: StepViews) -> dict[str, Float[Tensor, " b"]]:
        """Those of the method."""
        assert views.teacher is not None
        taught = [
            (_rows(averaged_to(mine, (theirs.shape[2], theirs.shape[3]))), _rows(theirs))
            for mine, theirs in zip(views.student, views.teacher, strict=True)
        ]
        student, teacher = (ModelOutput(*parts) for parts in zip(*taught, strict=True))
        found = self.method.terms(StepViews(student, teacher, views.labels))
        count = len(views.student.features)
        return {name: term.reshape(count, -1).mean(dim=1) for name, term in found.items()}


def _rows(maps_BDhw: Tensor) -> Tensor:
    """Shape [B h w, D]."""
    return maps_BDhw.permute(0, 2, 3, 1).flatten(0, 2)
