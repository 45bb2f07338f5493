"""Which of four things the labels are: one class a row, a set of classes, numbers, or a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.label_numbers import index_numbers, read_numbers
from fdkd_core.data.label_sets import index_label_sets, read_label_sets
from fdkd_core.data.labels import FLOAT, INTEGER, LabelIndex, index_labels, read_labels
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.masks import index_masks
from fdkd_core.data.problems import ProblemLog
from fdkd_core.modalities.base import RawColumn
from fdkd_core.spec.tasks import (
    LABEL_WORDS,
    ClassificationSpec,
    LabelForm,
    MultilabelSpec,
    RegressionSpec,
    SegmentationSpec,
    TaskSpec,
)

TASK_OF_FORM: dict[LabelForm, TaskSpec] = {
    "class": ClassificationSpec(),
    "classes": MultilabelSpec(),
    "numbers": RegressionSpec(),
    "mask": SegmentationSpec(),
}
"""A task that reads labels of a form, for data that is read before its task is known."""

MaskReader = Callable[[Sequence[object], ProblemLog], RawColumn]
"""From the cells of the label column to where their masks lie; notes those that are not there."""


@dataclass(frozen=True)
class LabelColumn:
    """The label of each row."""

    form: LabelForm
    names: Sequence[str | tuple[str, ...]]
    """One per row, as text: the class, or the set of classes in the order of the file. Of numbers and masks
    "", so that a split by what is here treats all rows alike."""
    numbers: NDArray[np.float64] | None = None
    """Shape [rows, targets], of the form `numbers`."""
    number_names: tuple[str, ...] = ()
    """Of the targets."""
    mask_files: RawColumn | None = None
    """Where masks lie, of the form `mask`."""
    mask_size: int | list[int] | None = None
    """As dataset.yaml has it."""
    masks: NDArray[np.uint8] | None = None
    """The masks, [rows, H, W], once they are decoded."""

    def index(
        self, splits: Sequence[str], class_names: Sequence[str] | None, limits: Limits = DEFAULT
    ) -> LabelIndex:
        """The labels as a task reads them; what they are made of is told from the training rows alone.

        Raises:
            DatasetError: What training lacks; see `index_labels`, `index_label_sets` and `index_numbers`.
        """
        if self.numbers is not None:
            return index_numbers(self.numbers, self.number_names, splits)
        if self.form == "mask":
            if self.masks is None:  # there is nothing to say before they are decoded
                return LabelIndex([], np.zeros(len(self.names), np.int64), [])
            return index_masks(self.masks, splits, class_names, limits)
        if self.form == "classes":
            sets = [name if isinstance(name, tuple) else (name,) for name in self.names]
            return index_label_sets(sets, splits, class_names, limits)
        return index_labels([str(name) for name in self.names], splits, class_names, limits)


def read_label_column(
    values: Sequence[object],
    wanted: LabelForm | None,
    description: LabelsDescription,
    log: ProblemLog,
    limits: Limits = DEFAULT,
    find_masks: MaskReader | None = None,
) -> LabelColumn:
    """Takes the labels in the form that a task wants.

    Args:
        values: One per row, as the file has them: str, int, float, bool, None, or a list of those.
        wanted: By the task; None for what dataset.yaml says, or else for what the values look like.
        description: The part of dataset.yaml about labels.
        log: Receives `invalid_label` for each bad row, and `invalid_description` where dataset.yaml says that
            the labels are something else than the task wants.
        limits: Those of labels apply.
        find_masks: Of a format that can hold masks.
    """
    if wanted is not None and description.form not in (None, wanted):
        assert description.form is not None
        detail = f"they are {LABEL_WORDS[description.form]}; the task reads {LABEL_WORDS[wanted]}"
        log.add("invalid_description", detail, pointer="/labels/form")
    form = wanted or description.form or inferred_form(values)
    if form == "numbers":
        numbers, names = read_numbers(values, description, log, limits)
        return LabelColumn(form, [""] * len(values), numbers, names)
    if form == "classes":
        return LabelColumn(form, read_label_sets(values, description.separator, log, limits))
    if form == "mask":
        return _mask_column(values, description, log, find_masks)
    return LabelColumn(form, read_labels(values, log, limits))


def _mask_column(
    values: Sequence[object],
    description: LabelsDescription,
    log: ProblemLog,
    find_masks: MaskReader | None,
) -> LabelColumn:
    blank = [""] * len(values)
    if find_masks is None:
        detail = "masks are files beside a manifest, or an array in an .npz; this format does not hold them"
        log.add("invalid_label", detail, pointer="label")
        return LabelColumn("mask", blank)
    return LabelColumn("mask", blank, mask_files=find_masks(values, log), mask_size=description.size)


def inferred_form(values: Sequence[object]) -> LabelForm:
    """What the labels look like, for data whose task is not known yet.

    Lists are sets of classes, or numbers where one holds a fraction. Labels that are all numeric and mostly
    written as fractions are numbers; text that ends in .png throughout names masks; all others are classes.
    """
    if values and all(isinstance(value, str) and value.strip().lower().endswith(".png") for value in values):
        return "mask"
    lists = [value for value in values if isinstance(value, list | tuple)]
    if lists:
        is_fraction = any(isinstance(part, float) for value in lists for part in value)
        return "numbers" if is_fraction else "classes"
    fractions = present = 0
    for value in values:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        text = str(value).strip() if isinstance(value, str | int | float) else "?"
        if not text:
            continue
        present += 1
        if isinstance(value, float) or (FLOAT.fullmatch(text) and not INTEGER.fullmatch(text)):
            fractions += 1
        elif not INTEGER.fullmatch(text):
            return "class"
    return "numbers" if 2 * fractions > present else "class"
