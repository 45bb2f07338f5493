"""Which columns of a table are modalities."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fdkd_core.data.annotations import RESERVED
from fdkd_core.data.description import Description
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import quote

# The same as `Key` of the spec, which must be able to name every modality.
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


def modality_names(
    names: Sequence[str], description: Description, log: ProblemLog
) -> tuple[list[str], list[str]]:
    """Tells modalities from annotations and from what dataset.yaml ignores.

    Args:
        names: Of all columns.
        description: Its `group` and `ignore` apply.
        log: Receives `invalid_values` for names that a spec could not refer to, and for names given twice.

    Returns:
        The modalities in the order of the columns, and lines for the report.
    """
    set_aside = {*RESERVED, *description.ignore}
    if description.group is not None:
        set_aside.add(description.group)
    warnings = [
        f"dataset.yaml ignores the column {quote(name)}, which is not there"
        for name in description.ignore
        if name not in names
    ]
    seen: dict[str, str] = {}
    found = []
    for name in names:
        folded = name.casefold()
        if folded in seen:
            log.add(
                "invalid_values",
                f"the columns {quote(seen[folded])} and {quote(name)} differ at most in case",
            )
            continue
        seen[folded] = name
        if name in set_aside:
            continue
        if not name:  # pandas writes the index of a frame without a name
            warnings.append("a column without a name is passed over")
        elif not _KEY.fullmatch(name):
            log.add(
                "invalid_values",
                f"the column name {quote(name)} is not usable: a letter, then up to 63 letters, digits, `_`, "
                "`.`, `-`; rename it, or list it under `ignore` in dataset.yaml",
            )
        else:
            found.append(name)
    return found, warnings
