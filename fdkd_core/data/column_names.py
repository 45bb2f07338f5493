"""Which columns of a table are modalities, and which are annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fdkd_core.data.annotations import RESERVED
from fdkd_core.data.description import Description
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import quote

# The same as `Key` of the spec, which must be able to name every modality.
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_OTHERS = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


class ColumnNames(NamedTuple):
    """What the columns of a table are."""

    modalities: list[str]
    """In the order of the columns."""
    written: dict[str, str]
    """Name in the data of each annotation that is written in another way than ours, such as `ID`."""
    warnings: list[str]
    """Lines for the report."""


def column_names(names: Sequence[str], description: Description, log: ProblemLog) -> ColumnNames:
    """Tells modalities from annotations and from what dataset.yaml ignores.

    Args:
        names: Of all columns.
        description: Its `group` and `ignore` apply. A name that it has, in the spelling of the data, is meant
            as it is.
        log: Receives `invalid_values` for names that a spec could not refer to, and for names given twice.
    """
    stated = {*description.ignore, *description.modalities}
    if description.group is not None:
        stated.add(description.group)
    missing = [
        f"dataset.yaml ignores the column {quote(name)}, which is not there"
        for name in description.ignore
        if name not in names
    ]
    found = ColumnNames([], {}, missing)
    seen: dict[str, str] = {}
    for name in names:
        if name in description.ignore and name not in RESERVED:
            continue
        folded = name.strip().casefold()
        if folded in seen:
            log.add("invalid_values", _twice(seen[folded], name, folded))
            continue
        seen[folded] = name
        if name in RESERVED or name == description.group:
            continue
        if folded in RESERVED and name not in stated:
            found.written[folded] = name
            found.warnings.append(f"the column {quote(name)} is read as {folded}")
        elif not name:  # pandas writes the index of a frame without a name
            found.warnings.append("a column without a name is passed over")
        elif not _KEY.fullmatch(name):
            log.add(
                "invalid_values",
                f"the column name {quote(name)} is not usable: a letter, then up to 63 letters, digits, `_`, "
                f"`.`, `-`; rename it{_usable(name, names)}, or list it under `ignore` in dataset.yaml",
            )
        else:
            found.modalities.append(name)
    return found


def _twice(first: str, second: str, folded: str) -> str:
    if folded in RESERVED:
        both = f"the columns {quote(first)} and {quote(second)} would both be the {folded} of a row"
        return f"{both}; rename one, or list it under `ignore` in dataset.yaml"
    return f"the columns {quote(first)} and {quote(second)} differ at most in case"


def _usable(name: str, names: Sequence[str]) -> str:
    """A name that would do, as the end of "rename it"; "" where none suggests itself."""
    found = _OTHERS.sub("_", name.strip()).strip("_")
    is_free = all(found.casefold() != other.casefold() for other in (*names, *RESERVED))
    return f" ({quote(found)} would do)" if is_free and _KEY.fullmatch(found) else ""
