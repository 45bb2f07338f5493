"""The figures that models are judged by: what each is called, how it is shown, and which way is better."""

from __future__ import annotations

from typing import Literal, NamedTuple

MetricName = Literal[
    "accuracy", "macro_f1", "mean_ap", "micro_f1", "exact_match", "mae", "rmse", "r2",
    "recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank",
    "mean_iou", "mean_pixel_accuracy", "pixel_accuracy",
]  # fmt: skip
"""A figure that a task measures; see `fdkd_core.spec.tasks`."""
SelectBy = Literal[
    "accuracy", "macro_f1", "mean_ap", "micro_f1", "exact_match", "mae", "rmse", "r2",
    "recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank",
    "mean_iou", "mean_pixel_accuracy", "pixel_accuracy", "loss",
]  # fmt: skip
"""What may pick between two trainings: a figure, or the task's own loss."""


MANY = 1e4
"""From here on a decimal is shown to four digits."""


class Measure(NamedTuple):
    """One figure."""

    name: str
    """Its field in a result."""
    words: str
    """Within a sentence."""
    short: str
    """At the head of a column."""
    form: Literal["share", "decimal", "number"] = "share"
    """`share`: 0..1, shown in percent. `decimal`: without a unit, to three places. `number`: in a unit of the
    data's own, to four digits."""
    larger_is_better: bool = True

    def signed(self, value: float) -> float:
        """The figure turned so that larger is better."""
        return value if self.larger_is_better else -value

    def possible(self, bound: float) -> float:
        """The end of an interval of the figure itself: that of few seeds goes on beyond 0 and 100 %."""
        return min(max(bound, 0.0), 1.0) if self.form == "share" else bound

    def text(self, value: float, *, unit: bool = False) -> str:
        """The figure for people: 93.4, or `93.4 %` with its unit."""
        if self.form == "share":
            return f"{100 * value:.1f}" + (" %" if unit else "")
        return f"{value:.3f}" if self._has_places(value) else f"{value:.4g}"

    def signed_text(self, value: float) -> str:
        """A difference of two such figures, with its sign and no unit."""
        if self.form == "share":
            # The sign of what is shown, not of -0.0004.
            return f"{round(100 * value, 1) + 0.0:+.1f}"
        return f"{round(value, 3) + 0.0:+.3f}" if self._has_places(value) else f"{value + 0.0:+.4g}"

    def _has_places(self, value: float) -> bool:
        """Of an R² of -2750463676894762.500, which a single wild label makes, they say nothing."""
        return self.form == "decimal" and abs(value) < MANY

    def gain(self, value: float) -> str:
        """A difference with what it is counted in: `+2.3 points`, `+0.012`."""
        return f"{self.signed_text(value)} points" if self.form == "share" else self.signed_text(value)

    def loss(self, before: float, after: float) -> float:
        """By how much a figure got worse: a difference, or for one that has a unit a share of what it was."""
        difference = self.signed(before) - self.signed(after)
        return difference / (abs(before) or 1.0) if self.form == "number" else difference

    def loss_text(self, loss: float) -> str:
        """What `loss` gave, without a sign: `1.0 points`, `0.010`, `1.0 %`."""
        if self.form == "number":
            return f"{100 * loss:.1f} %"
        return self.text(loss) + (" points" if self.form == "share" else "")

    @property
    def turned(self) -> str:
        """What is to be said beside a difference that `signed` turned round; nothing where it did not."""
        return "" if self.larger_is_better else ", turned so that more is better"

    @property
    def scale(self) -> float:
        """By what it is multiplied to be shown."""
        return 100.0 if self.form == "share" else 1.0

    @property
    def heading(self) -> str:
        """What a column of such figures is of: `accuracy in %`."""
        return f"{self.words} in %" if self.form == "share" else self.words


LOSS = Measure("loss", "loss", "loss", "decimal", larger_is_better=False)
"""Every task's, whatever it is: mean over the samples."""

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("accuracy", "accuracy", "acc"),
        Measure("macro_f1", "macro-F1", "F1"),
        Measure("mean_ap", "mAP", "mAP"),
        Measure("micro_f1", "micro-F1", "micro-F1"),
        Measure("exact_match", "exact match", "exact"),
        Measure("mae", "MAE", "MAE", "number", larger_is_better=False),
        Measure("rmse", "RMSE", "RMSE", "number", larger_is_better=False),
        Measure("r2", "R²", "R²", "decimal"),
        Measure("recall_at_1", "recall@1", "R@1"),
        Measure("recall_at_5", "recall@5", "R@5"),
        Measure("recall_at_10", "recall@10", "R@10"),
        Measure("mean_reciprocal_rank", "MRR", "MRR", "decimal"),
        Measure("mean_iou", "mIoU", "mIoU"),
        Measure("mean_pixel_accuracy", "mean pixel accuracy", "class acc"),
        Measure("pixel_accuracy", "pixel accuracy", "pixel acc"),
        LOSS,
    )
}
