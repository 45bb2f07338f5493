"""The split column: reading it, and cutting a validation split where there is none."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.table import UNLABELLED, Split
from fdkd_core.errors import DatasetError, Problem, quote

_ALIASES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
}

SPLIT_PAIRS: tuple[tuple[Split, Split], ...] = (
    ("train", "val"),
    ("train", "test"),
    ("val", "test"),
    (UNLABELLED, "val"),
    (UNLABELLED, "test"),
)
"""Splits that should share nothing: what is measured on the second would not be new to the model."""

VALIDATION_FRAC = 0.1
"""Share of the training rows cut for validation: the usual choice. It costs the student a tenth of its rows,
and with 1,000 rows left leaves a standard error of about 3 points on the choice between two models."""


def read_splits(
    values: Sequence[object] | None, num_rows: int, log: ProblemLog
) -> tuple[list[str], list[str]]:
    """Takes the split column.

    Args:
        values: One per row; None where the data has no such column, so that every row is `train`.
        num_rows: Rows of the data.
        log: Receives `invalid_values` for each row whose split is not known.

    Returns:
        The split of each row (bad ones are `train`), and lines for the report about other spellings.
    """
    if values is None:
        return ["train"] * num_rows, ["there is no split column: every row counts as train"]
    known: dict[object, Split | None] = {}
    splits: list[str] = []
    respelled: Counter[tuple[str, str]] = Counter()
    for row, value in enumerate(values, start=1):
        if value not in known:
            known[value] = _ALIASES.get(value.strip().lower()) if isinstance(value, str) else None
        split = known[value]
        if split is None:
            log.add(
                "invalid_values",
                f"the split is {quote(value)}; train, val, test and unlabelled are allowed",
                row=row,
                pointer="split",
            )
        elif value != split:
            respelled[str(value), split] += 1
        splits.append(split or "train")
    lines = [
        f"split {quote(value)} is read as {split} ({count} rows)"
        for (value, split), count in respelled.items()
    ]
    return splits, lines


def check_splits(splits: Sequence[str], limits: Limits = DEFAULT) -> None:
    """Refuses data that is too small to train and test on. A missing validation split is fine.

    Raises:
        DatasetError: `dataset_too_small` for fewer than `min_rows` rows; `missing_split` where there is no
            train or no test row.
    """
    if len(splits) < limits.min_rows:
        raise DatasetError(
            Problem(
                "dataset_too_small", f"the data has {len(splits)} rows; at least {limits.min_rows} are needed"
            )
        )
    present = set(splits)
    missing = [split for split in ("train", "test") if split not in present]
    if missing:
        raise DatasetError(
            Problem(
                "missing_split",
                f"no row has the split {' or '.join(missing)}: a test split is never cut from the others, "
                "since only you know which rows are independent",
                "split",
            )
        )


def cut_validation(
    ids: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str | tuple[str, ...]],
    groups: Sequence[str] | None = None,
    *,
    seed: int,
    frac: float = VALIDATION_FRAC,
    complete: Sequence[bool] | None = None,
) -> tuple[list[str], list[str]]:
    """Moves training rows to validation where there is no validation row.

    Each class gives its share, at least one row when it can keep one; whole groups move together. Which rows
    move depends on seed and ids alone, not on the order of rows or the version of a random generator.

    Args:
        ids: One per row, unique.
        splits: One per row, as `read_splits` gives them.
        labels: One per row: its class, or all of its classes. The same for all rows where there are none.
        groups: One per row, such as the speaker; None where rows are independent.
        seed: Of the choice.
        frac: Share of the training rows to move, in (0, 1).
        complete: One per row: whether it has all that a validation row must have; None when all do. Rows
            that do not, and groups with such a row, stay.

    Returns:
        The splits, and lines for the report. Unchanged, without lines, where there are validation rows.

    Raises:
        DatasetError: `dataset_too_small` when nothing can move without emptying a class of training.
    """
    if "val" in splits:
        return list(splits), []
    units: dict[str, list[int]] = defaultdict(list)
    for row, split in enumerate(splits):
        if split == "train":
            units[groups[row] if groups is not None else ids[row]].append(row)
    if complete is not None:
        units = {unit: rows for unit, rows in units.items() if all(complete[row] for row in rows)}
    order = sorted(units, key=lambda unit: _shuffle_key(seed, unit))
    named = [_names(label) for label in labels]
    totals = Counter(
        name for names, split in zip(named, splits, strict=True) if split == "train" for name in names
    )
    moved = _choose([Counter(n for row in units[unit] for n in named[row]) for unit in order], totals, frac)
    if not moved:
        raise DatasetError(
            Problem(
                "dataset_too_small",
                "no validation split can be cut from train: no "
                + ("group" if groups is not None else "row")
                + " can move without emptying a class"
                + (" or lacking a modality" if complete is not None else "")
                + "; add validation rows",
                "split",
            )
        )
    cut = list(splits)
    rows = [row for position in moved for row in units[order[position]]]
    for row in rows:
        cut[row] = "val"
    whole = f" ({len(moved)} whole groups)" if groups is not None else ""
    num_train = cut.count("train") + len(rows)
    lines = [
        f"there is no validation split: {len(rows)} of {num_train} training rows{whole} were cut for it, "
        f"seed {seed}"
    ]
    lacking = sorted(set(totals) - {name for row in rows for name in named[row]})
    if lacking:
        lines.append(
            f"{len(lacking)} classes have no validation row: "
            + ", ".join(quote(name) for name in lacking[:10])
        )
    return cut, lines


def _names(label: str | tuple[str, ...]) -> tuple[str, ...]:
    """The classes that a row counts for; rows without any are a class of their own here."""
    return (label,) if isinstance(label, str) else label or ("(none)",)


def _shuffle_key(seed: int, unit: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=16).digest()


def _choose(units: Sequence[Counter[str]], totals: Counter[str], frac: float) -> list[int]:
    """Positions of the units to move, so that each class comes close to its share."""
    wanted = {label: max(1, round(frac * total)) if total > 1 else 0 for label, total in totals.items()}
    taken: Counter[str] = Counter()
    moved: list[int] = []

    def keeps_classes(unit: Counter[str]) -> bool:
        return all(taken[label] + count < totals[label] for label, count in unit.items())

    def error(label: str, count: int) -> float:
        return (count - wanted[label]) ** 2 / max(wanted[label], 1)

    for position, unit in enumerate(units):
        change = sum(
            error(label, taken[label] + count) - error(label, taken[label]) for label, count in unit.items()
        )
        if change < 0 and keeps_classes(unit):
            taken.update(unit)
            moved.append(position)
    # Large groups may overshoot every share; a class without any validation row is worse than that.
    for label in wanted:
        if taken[label] == 0 and wanted[label]:
            candidates = [p for p, unit in enumerate(units) if unit[label] and keeps_classes(unit)]
            if candidates:
                smallest = min(candidates, key=lambda p: (units[p].total(), p))
                taken.update(units[smallest])
                moved.append(smallest)
    return sorted(moved)


def shared_groups(groups: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Lines for the report about groups that lie in two splits: the test then measures recognition of them.

    Args:
        groups: One per row.
        splits: One per row.
    """
    members: dict[str, set[str]] = {split: set() for pair in SPLIT_PAIRS for split in pair}
    for group, split in zip(groups, splits, strict=True):
        members[split].add(group)
    lines = []
    for first, second in SPLIT_PAIRS:
        shared = sorted(members[first] & members[second])
        if shared:
            examples = ", ".join(quote(group) for group in shared[:3])
            lines.append(f"{len(shared)} groups have rows in both {first} and {second}, such as {examples}")
    return lines
