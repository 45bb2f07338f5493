"""From a path to a data set ready for training: read, cut, resolve, decode, fit, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from fdkd_core.count_words import count
from fdkd_core.data.decoding import DecoderPool, DistinctValues, decode_column
from fdkd_core.data.described import describe_groups, describe_modality, few_groups
from fdkd_core.data.duplicates import CrossSplitDuplicates, find_duplicates
from fdkd_core.data.label_forms import TASK_OF_FORM
from fdkd_core.data.label_numbers import describe_targets
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.masks import refuse_other_proportions, with_masks
from fdkd_core.data.missing_values import complete_rows, leave_out, lines_of
from fdkd_core.data.reading import read_table
from fdkd_core.data.split_labels import alike_labels
from fdkd_core.data.splits import cut_validation
from fdkd_core.data.table import SPLITS, UNLABELLED, ModalityData, PairedDataset, Split, Table
from fdkd_core.description_file import WHERE
from fdkd_core.errors import DatasetError, IncompatibleError, Problem, quote
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import Facts, RawColumn, Recipe, RowError
from fdkd_core.modalities.inference import NUM_SAMPLES, InferredKind, infer_kind
from fdkd_core.modalities.options import MAX_PROBLEMS, OptionError
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.column_fit import input_mismatch
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec, facts_of

_CLASSIFICATION = ClassificationSpec()

LoadProgress = Callable[[str, int, int], None]
"""Called with the column being decoded, values done, and values in all."""


def load_dataset(
    path: str | os.PathLike[str],
    modalities: Sequence[str] | None,
    *,
    manifest: str | None = None,
    task: TaskSpec | None = _CLASSIFICATION,
    seed: int = 0,
    recipes: Mapping[str, Recipe] | None = None,
    may_lack: Collection[str] = (),
    cache_dir: Path | None = None,
    workers: int | None = None,
    min_train_rows: int = 2,
    progress: LoadProgress | None = None,
    limits: Limits = DEFAULT,
) -> PairedDataset:
    """Loads paired data.

    Sizes, vocabularies and normalisation come from training rows alone; a missing validation split is cut
    from them before that.

    Args:
        path: A folder, archive, .npz, .parquet or manifest: see `read_table`.
        modalities: Columns to decode, each once; null takes every modality there is.
        manifest: Name of the manifest inside.
        task: What the labels are read for; None finds out what they are fit for.
        seed: Of the validation cut.
        recipes: Fitted recipes by column, such as that of an uploaded teacher, which are used as they are.
        may_lack: Columns that training rows may lack, such as the teacher's; rows that lack another of
            `modalities` are left out. Where `modalities` is null, every row stays.
        cache_dir: Where decoded columns of 1 GiB and more are kept during the run.
        workers: Child processes that decode; None chooses.
        min_train_rows: Fewest training rows after the cut, such as the batch size.
        progress: Called now and then while decoding.
        limits: What the data may cost.

    Raises:
        DatasetError: All that is wrong; of bad values the first ten over all columns.
        IncompatibleError: A recipe given does not fit its column, which the problem's pointer names.
        ModelFileError: A recipe given is not valid.
        StorageError: No room for decoded data.
    """
    form = None if task is None else facts_of(task).label_form
    table = read_table(path, manifest=manifest, label_form=form, limits=limits)
    required = [] if modalities is None else [name for name in modalities if name not in may_lack]
    complete = None if modalities is None else complete_rows(table, modalities)
    modalities = list(table.columns) if modalities is None else modalities
    _check_columns(table, modalities)
    splits, cut_lines = cut_validation(
        table.ids, table.splits, *table.labels.cut(table.groups), seed=seed, complete=complete
    )
    named = (*SPLITS, UNLABELLED) if UNLABELLED in splits else SPLITS
    rows = {split: _rows_of(splits, split) for split in named}
    with DecoderPool(workers) as pool:
        table, mask_report = with_masks(
            table,
            rows["train"],
            pool=pool,
            cache_dir=cache_dir,
            progress=_named(progress, "label"),
            limits=limits,
        )
        labels = table.labels.index(splits, table.class_names, limits)
        rows["train"], left_out_lines = leave_out(rows["train"], table, required, labels)
        if len(rows["train"]) < min_train_rows:
            detail = f"training has {count(len(rows['train']), 'row')}; at least {min_train_rows} are needed"
            raise DatasetError(Problem("dataset_too_small", detail, "split"))
        given = {name: Preprocessor(recipe) for name, recipe in (recipes or {}).items()}
        plans = [_plan(table, name, rows["train"], given.get(name)) for name in modalities]
        proportions = {}
        if table.labels.mask_files is not None:
            pictures = [(plan.column, plan.kind.kind) for plan in plans]
            proportions = refuse_other_proportions(table.labels.mask_files, pictures, limits)
        decoded = _decode_all(plans, cache_dir, pool, progress)
    columns = {name: table.columns[name] for name in modalities}
    duplicates = find_duplicates(columns, splits, table.missing)
    groups = None if table.groups is None else np.unique(table.groups, return_inverse=True)[1]
    few = few_groups(groups, rows) + alike_labels(labels, table.labels.form, task, rows)
    report = {
        "sha256": table.sha256,
        "rows": len(table.ids),
        "label_form": table.labels.form,
        "classes": labels.classes,
        "targets": describe_targets(table.labels.numbers, labels.targets, rows["train"]),
        "splits": {
            split: {
                "rows": len(rows[split]),
                "classes": {} if split == UNLABELLED else labels.counts(rows[split]),
                **describe_groups(groups, rows[split]),
            }
            for split in named
        },
        **mask_report,
        "validation_cut_by": None
        if "val" in table.splits
        else "row"
        if table.labels.cut(table.groups)[1] is None
        else "group",
        "modalities": {
            plan.column.name: {
                **describe_modality(
                    plan.kind,
                    plan.options,
                    decoded[plan.column.name].recipe,
                    is_given=plan.is_given,
                    distinct_values=len(plan.distinct),
                    proportions=proportions.get(plan.column.name),
                ),
                "training_rows_without": int((~decoded[plan.column.name].has(rows["train"])).sum()),
            }
            for plan in plans
        },
        "duplicates": [found.as_dict() for found in duplicates],
        "warnings": _warnings(table, [*cut_lines, *left_out_lines, *few], labels.warnings, duplicates),
    }
    return PairedDataset(
        table.ids, labels.values, labels.classes, rows, decoded, sha256=table.sha256, report=report,
        task=TASK_OF_FORM[table.labels.form] if task is None else task, targets=labels.targets,
        groups=groups,
    )  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """How a column will be decoded."""

    column: RawColumn
    kind: InferredKind
    options: dict[str, Any]
    distinct: DistinctValues
    recipe: Recipe | None
    """None when no training value could be read; then `problems` says why."""
    is_given: bool
    """The recipe is fitted already, and is not to be changed."""
    problems: list[Problem]


def _check_columns(table: Table, modalities: Sequence[str]) -> None:
    there = ", ".join(quote(name, 64) for name in list(table.columns)[:20])
    problems = [
        Problem("missing_column", f"there is no column {quote(name)}; the data has {there}", name)
        for name in modalities
        if name not in table.columns
    ]
    if not modalities or len(set(modalities)) < len(modalities):
        problems.append(Problem("invalid_values", "name each modality to load once, and at least one"))
    if problems:
        raise DatasetError(problems)


def _rows_of(splits: Sequence[str], split: Split) -> NDArray[np.int64]:
    return np.array([row for row, found in enumerate(splits) if found == split], dtype=np.int64)


def _plan(table: Table, name: str, train_rows: NDArray[np.int64], given: Preprocessor | None) -> _Plan:
    column = table.columns[name]
    options = table.options.get(name, {})
    missing = table.missing.get(name)
    if missing is not None and missing[train_rows].all():
        detail = f"no training row has a value in the column {quote(name)}"
        raise DatasetError(Problem("dataset_too_small", detail, name))
    distinct = DistinctValues(column, train_rows.tolist(), missing)
    kind = _choose_kind(table, column, distinct)
    if given is not None:
        _refuse_mismatch(column, kind.kind, options, distinct, given)
        return _Plan(column, kind, options, distinct, given.recipe, is_given=True, problems=[])
    facts, problems = _inspect(column, kind.kind, distinct)
    recipe = None
    if facts or not problems:
        try:
            recipe = KINDS[kind.kind].resolve(options, facts)
        except OptionError as error:
            problems += [_in_options(problem, name) for problem in error.problems]
    return _Plan(column, kind, options, distinct, recipe, is_given=False, problems=problems)


def _refuse_mismatch(
    column: RawColumn, kind: KindName, options: dict[str, Any], distinct: DistinctValues, given: Preprocessor
) -> None:
    """Refuses a column as a whole where the given recipe would refuse each of its values."""
    found: Recipe = {}
    if kind in ("vector", "series", "map") and kind == given.kind.name:  # the kinds that are never resized
        facts, _ = _inspect(column, kind, distinct)
        if not facts:
            return  # decoding says why
        try:
            found = KINDS[kind].resolve(options, facts)
        except OptionError as error:
            raise DatasetError([_in_options(problem, column.name) for problem in error.problems]) from None
    mismatch = input_mismatch({**found, "kind": kind}, {**given.recipe, "modality_kind": given.kind.name})
    if mismatch:
        raise IncompatibleError(Problem("incompatible", mismatch, column.name))


def _choose_kind(table: Table, column: RawColumn, distinct: DistinctValues) -> InferredKind:
    stated = table.kinds.get(column.name)
    if stated is not None and stated not in get_args(KindName):
        detail = f"found {quote(stated)}; allowed are {', '.join(get_args(KindName))}"
        raise DatasetError(Problem("not_allowed", detail, f"/modalities/{column.name}/kind"))
    if stated is not None:
        return InferredKind(cast(KindName, stated), "stated in dataset.yaml")
    samples, names = [], []
    for row in distinct.rows[: 4 * NUM_SAMPLES]:  # some may not be readable; decoding reports those
        try:
            samples.append(column.read(row))
            names.append(column.file_name(row))
        except RowError as error:
            refused = Problem(error.code, error.detail, column.name, row + 1)
            continue
        if len(samples) == NUM_SAMPLES:
            break
    if not samples:
        raise DatasetError(refused)
    try:
        return infer_kind(samples, names)
    except OptionError as error:
        raise DatasetError([replace(problem, pointer=column.name) for problem in error.problems]) from None


def _inspect(
    column: RawColumn, kind: KindName, distinct: DistinctValues
) -> tuple[list[Facts], list[Problem]]:
    """Facts of the training values, and problems of those that have none."""
    facts: list[Facts] = []
    problems: list[Problem] = []
    for row in distinct.rows[: distinct.num_first]:
        try:
            facts.append(KINDS[kind].inspect(column.read(row)))
        except RowError as error:
            problems.append(Problem(error.code, error.detail, column.name, row + 1))
            if len(problems) == MAX_PROBLEMS:
                break
    return facts, problems


def _in_options(problem: Problem, column: str) -> Problem:
    return replace(problem, pointer=f"/modalities/{column}{problem.pointer or ''}")


def _decode_all(
    plans: Sequence[_Plan], cache_dir: Path | None, pool: DecoderPool, progress: LoadProgress | None
) -> dict[str, ModalityData]:
    """Every column decoded and fitted, or one error with what is wrong in all of them."""
    decoded: dict[str, ModalityData] = {}
    problems: list[Problem] = []
    for plan in plans:
        name = plan.column.name
        known = {(problem.row, problem.code) for problem in plan.problems}
        problems += plan.problems
        if plan.recipe is None:
            continue
        try:
            data = decode_column(
                plan.column,
                plan.recipe,
                pool=pool,
                cache_dir=cache_dir,
                progress=_named(progress, name),
                distinct=plan.distinct,
            )
        except DatasetError as error:
            problems += [found for found in error.problems if (found.row, found.code) not in known]
            continue
        if not plan.is_given:
            train_values = data.values[: plan.distinct.num_first]
            if _is_constant(train_values):
                detail = (
                    "all training values of this column are the same: there is nothing to learn from it; "
                    f"a column that is no modality goes into `ignore` of {WHERE}"
                )
                problems.append(Problem("invalid_values", detail, name))
            data = replace(data, recipe=KINDS[plan.kind.kind].fit(train_values, plan.recipe))
        decoded[name] = data
    if problems:
        raise DatasetError(_first(problems))
    return decoded


def _first(problems: Sequence[Problem]) -> list[Problem]:
    """What is wrong with columns as a whole, then the first rows."""
    return sorted(problems, key=lambda problem: problem.row or 0)[:MAX_PROBLEMS]


def _named(progress: LoadProgress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)


def _is_constant(values: NDArray[Any]) -> bool:
    """Whether all values are equal; stops at the first that differs, usually the second."""
    return all(np.array_equal(values[0], value, equal_nan=values.dtype.kind == "f") for value in values[1:])


def _warnings(
    table: Table, cut_lines: list[str], label_lines: list[str], duplicates: Sequence[CrossSplitDuplicates]
) -> list[str]:
    lines = [
        *table.warnings,
        *lines_of(table.missing),
        *cut_lines,
        *label_lines,
        *(found.line(table.ids) for found in duplicates),
    ]
    return list(dict.fromkeys(lines))  # labels are indexed by the reader too, before the cut
