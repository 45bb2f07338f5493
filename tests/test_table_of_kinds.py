"""What docs/data.md says of kinds, options and limits is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fdkd_core.data.description import Description, LabelsDescription
from fdkd_core.data.limits import DEFAULT, GiB, MiB
from fdkd_core.modalities import KINDS

DOCUMENT = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
BEFORE = DOCUMENT.partition("## dataset.yaml")[0]
ROWS = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", BEFORE, re.MULTILINE))


def test_all_kinds_are_there() -> None:
    assert set(ROWS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_options_and_their_defaults_are_those_of_a_kind(kind: str) -> None:
    fields = KINDS[kind].options_model.model_fields
    told = dict(re.findall(r"`(\w+)`(?: \(([^)]*)\))?", ROWS[kind]))
    assert set(fields) <= set(told)
    assert set(told) - set(fields) <= {"time_channels", "channels_time"}  # values of an option
    for name, field in fields.items():
        if field.default is not None:
            default = str(field.default).lower().removesuffix(".0")
            assert re.match(rf"{re.escape(default)}\b", told[name]), name


def test_all_that_dataset_yaml_takes_is_there() -> None:
    part = DOCUMENT.partition("## dataset.yaml")[2].partition("## Splits")[0]
    example = part.partition("```yaml")[2].partition("```")[0]
    assert all(f"\n{name}:" in example for name in Description.model_fields)
    assert all(f"`{name}`" in part for name in LabelsDescription.model_fields)


def test_limits_are_those_of_the_reader() -> None:
    text = " ".join(DOCUMENT.partition("## Limits")[2].split())
    assert f"has {DEFAULT.min_rows} to {DEFAULT.max_rows:,} rows" in text
    assert f"at most {DEFAULT.max_columns} columns and {DEFAULT.max_classes:,} classes" in text
    assert f"at most {DEFAULT.max_member_bytes // MiB} MiB" in text
    assert f"archive {DEFAULT.max_total_bytes // GiB} GiB unpacked" in text
    assert f"parquet file {DEFAULT.max_table_bytes // GiB} GiB" in text
    assert f"up to {DEFAULT.max_bad_rows} of each kind of mistake" in DOCUMENT
