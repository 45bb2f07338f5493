"""Which of five things the labels are: one class or identity a row, a set of classes, numbers, or a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.description import LabelsDescription
from fdkd_core.data.label_identities import index_identities
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
    RetrievalSpec,
    SegmentationSpec,
    TaskSpec,
)

TASK_OF_FORM: dict[LabelForm, TaskSpec] = {
    "class": ClassificationSpec(),
    "classes": MultilabelSpec(),
    "numbers": RegressionSpec(),
    "identity": RetrievalSpec(),
    "mask": SegmentationSpec(),
}
"""A task that reads labels of a form, for data that is read before its task is known."""

_WIDER: dict[LabelForm, LabelForm] = {"class": "identity"}
"""By what else a form may be taken: every class may be an identity."""

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
            DatasetError: What training lacks; see `index_labels`, `index_identities`, `index_label_sets` and
                `index_numbers`.
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
        names = [str(name) for name in self.names]
        if self.form == "identity":
            return index_identities(names, splits, class_names, limits)
        return index_labels(names, splits, class_names, limits)

    def cut(
        self, groups: Sequence[str] | None
    ) -> tuple[Sequence[str | tuple[str, ...]], Sequence[str] | None]:
        """What a validation split that is cut keeps in proportion, and which rows never part.

        The class, and the groups there are. Identities move as a whole, where groups do not say otherwise:
        of a tenth of each one's rows, hardly two would be left to find each other.

        Args:
            groups: One per row, where the data have such a column.
        """
        if self.form != "identity":
            return self.names, groups
        return [""] * len(self.names), [str(name) for name in self.names] if groups is None else groups

    def told_by(self, splits: Sequence[str]) -> LabelColumn:
        """The same, as identities where no test row has a class of training.

        Nobody can learn to name the classes of such rows, but to find those that belong together.

        Args:
            splits: One per row.
        """
        of_split: dict[str, set[object]] = {"train": set(), "test": set()}
        for name, split in zip(self.names, splits, strict=True):
            of_split.setdefault(split, set()).add(name)
        is_open = bool(of_split["test"]) and of_split["test"].isdisjoint(of_split["train"])
        return replace(self, form="identity") if self.form == "class" and is_open else self


def read_label_column(
    values: Sequence[object],
    wanted: LabelForm | None,
    description: LabelsDescription,
    log: ProblemLog,
    limits: Limits = DEFAULT,
    splits: Sequence[str] | None = None,
    find_masks: MaskReader | None = None,
) -> LabelColumn:
    """Takes the labels in the form that a task wants.

    Args:
        values: One per row, as the file has them: str, int, float, bool, None, or a list of those.
        wanted: By the task; None for what dataset.yaml says, or else for what the values look like. A task
            that wants identities takes classes too.
        description: The part of dataset.yaml about labels.
        log: Receives `invalid_label` for each bad row, and `invalid_description` where dataset.yaml says that
            the labels are something else than the task wants.
        limits: Those of labels apply.
        splits: One per row, by which identities are told from classes where nobody says; see `told_by`.
        find_masks: Of a format that can hold masks.
    """
    if description.form is not None and wanted not in (None, description.form, _WIDER.get(description.form)):
        assert wanted is not None
        detail = f"they are {LABEL_WORDS[description.form]}; the task reads {LABEL_WORDS[wanted]}"
        log.add("invalid_description", detail, pointer="/labels/form")
    form = wanted or description.form or inferred_form(values)
    if form == "identity":
        form = description.form if description.form in ("identity", "class") else "class"
    if form == "numbers":
        numbers, names = read_numbers(values, description, log, limits)
        return LabelColumn(form, [""] * len(values), numbers, names)
    if form == "classes":
        return LabelColumn(form, read_label_sets(values, description.separator, log, limits))
    if form == "mask":
        return _mask_column(values, description, log, find_masks)
    labels = LabelColumn(form, read_labels(values, log, limits))
    is_stated = description.form is not None or wanted == "class" or splits is None
    return labels if is_stated else labels.told_by(splits or ())


def _mask_column(
    values: Sequence[object],
    description: LabelsDescription,
    log: ProblemLog,
    find_masks: MaskReader | None,
) -> LabelColumn:
    blank = [""] * len(values)
    if find_masks is None:
        detail = (
            "these are no masks: files that a manifest names, an array in an .npz, or PNG bytes or rows of "
            "integers in parquet"
        )
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
