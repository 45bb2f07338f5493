"""dataset.yaml: what the files cannot say themselves."""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import Field, JsonValue, ValidationError

from fdkd_core import description_file
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.errors import DatasetError, Problem, quote
from fdkd_core.modalities.picture import Size
from fdkd_core.spec.strict import Key, Name, StrictModel
from fdkd_core.spec.tasks import LabelForm

FILE_NAME = description_file.NAME
_CODES = {"extra_forbidden": "unknown_field"}
_MAX_PROBLEMS = 10
_MAX_DEPTH = 16
"""Twice what options need. Deeper input costs the parser time that grows with its square."""


class LabelsDescription(StrictModel):
    """What the label of a row is."""

    form: LabelForm | None = None
    """`class`, `classes`, `numbers`, `mask`, or `identity`: whom or what a row shows, of whom training may
    lack some. Null: what the task of a job reads, and where that is not known yet, what the labels look like:
    a list is a set of classes, or numbers where it holds fractions; single fractions are numbers; names of
    PNG files, such files in the table and arrays of pictures are masks; integers and other text are classes,
    or identities where no test row has one of training."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] = "|"
    """Between the classes, or the numbers, of a row in a text; a comma would need quotes in CSV."""
    names: Annotated[list[Name], Field(min_length=1)] | None = None
    """Of the numbers of a row. Null: `target`, or `target1` and so on. Classes have `class_names`."""
    size: Size | None = None
    """Of masks, in pixels, as they are learnt and measured: one number for a square, or [height, width].
    Null: by the rule of pictures, their own if they are of one size with a shorter side up to 96, else 64."""


class Description(StrictModel):
    """The content of dataset.yaml. Everything may be left out."""

    manifest: Name | None = None
    """Name of the manifest, for data that ships several or calls it something else."""
    modalities: dict[Key, dict[str, JsonValue]] = Field(default_factory=dict)
    """Column to `kind` and its options, which the kind itself checks."""
    class_names: list[Name] | None = None
    """Names for integer labels 0, 1, 2 and so on, or the order of text labels."""
    labels: LabelsDescription = LabelsDescription()
    """What the column `label` holds, where it is not one class a row."""
    group: Name | None = None
    """Column of the groups (a speaker, a patient) that never part between training and validation."""
    ignore: list[Name] = Field(default_factory=list)
    """Columns that are not modalities."""

    def kinds(self) -> dict[str, str]:
        """Kind by column, where one is stated."""
        return {name: str(stated["kind"]) for name, stated in self.modalities.items() if "kind" in stated}

    def options(self) -> dict[str, dict[str, Any]]:
        """Options by column, where any are stated."""
        stated = {
            name: {key: value for key, value in fields.items() if key != "kind"}
            for name, fields in self.modalities.items()
        }
        return {name: options for name, options in stated.items() if options}


def parse_description(content: bytes, limits: Limits = DEFAULT) -> Description:
    """Reads dataset.yaml.

    Args:
        content: The file, UTF-8. Only plain YAML: no tags, no anchors (which can multiply without end), no
            key twice.
        limits: `max_description_bytes` applies.

    Raises:
        DatasetError: `exceeds_limit`, `invalid_description`, or `unknown_field` with a JSON pointer.
    """
    if len(content) > limits.max_description_bytes:
        raise DatasetError(
            Problem(
                "exceeds_limit",
                f"{FILE_NAME} has {len(content)} bytes or more; {limits.max_description_bytes} are allowed",
            )
        )
    try:
        document = yaml.load(content.decode("utf-8-sig"), Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise _invalid(f"{FILE_NAME} is not UTF-8: {error.reason} at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _invalid(f"{FILE_NAME} is not plain YAML{line}: {quote(error.problem, 160)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates such as 2024-99-99
        raise _invalid(f"{FILE_NAME} is not plain YAML: {quote(str(error), 160)}") from error
    if document is None:
        return Description()
    if not isinstance(document, dict):
        raise _invalid(f"{FILE_NAME} is a {type(document).__name__}; a mapping is wanted")
    try:
        description = Description.model_validate(document)
    except ValidationError as error:
        raise DatasetError(
            [
                Problem(
                    _CODES.get(found["type"], "invalid_description"),
                    f"{found['msg']}; found {quote(found['input'])}",
                    "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in found["loc"]),
                )
                for found in error.errors(include_url=False)[:_MAX_PROBLEMS]
            ]
        ) from error
    for name, stated in description.modalities.items():
        if not isinstance(stated.get("kind", ""), str):
            raise _invalid(
                f"the kind is {quote(stated['kind'])}; a name is wanted", f"/modalities/{name}/kind"
            )
    return description


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, of limited depth, and with every key once."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="anchors are not allowed",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        if self._depth == _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {_MAX_DEPTH} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {quote(key.value)} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _invalid(detail: str, pointer: str | None = None) -> DatasetError:
    return DatasetError(Problem("invalid_description", detail, pointer))
