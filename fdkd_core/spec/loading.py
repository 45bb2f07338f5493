"""From text to a job spec, with every problem named at once: field, what was found, what is allowed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Hashable, Mapping
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from fdkd_core.errors import MAX_NAMED, Problem, SpecError, quote
from fdkd_core.spec.field_names import FieldNames
from fdkd_core.spec.job import SCHEMA_VERSION
from fdkd_core.spec.kinds import AnyJobSpec, JobSpec

MAX_SPEC_BYTES = 1 << 20
MAX_DEPTH = 32

_ADAPTER: TypeAdapter[AnyJobSpec] = TypeAdapter(JobSpec)
_FIELD_NAMES = FieldNames(_ADAPTER.json_schema)

_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "literal_error": "not_allowed",
    "union_tag_invalid": "not_allowed",
    "union_tag_not_found": "missing_field",
    "finite_number": "not_finite",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "string_pattern_mismatch": "invalid_characters",
    "string_too_long": "out_of_range",
    "string_too_short": "out_of_range",
    "too_long": "out_of_range",
    "too_short": "out_of_range",
    "string_unicode": "invalid_unicode",
}
_WORDS = {
    "too_short": "{min_length} or more are needed; found {actual_length}",
    "too_long": "at most {max_length} are allowed; found {actual_length}",
    "string_too_short": "text of {min_length} or more characters is needed",
    "string_too_long": "at most {max_length} characters are allowed",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "allowed: {expected}",
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
    "dict_type": "a mapping of fields is needed",
    "model_type": "a mapping of fields is needed",
    "model_attributes_type": "a mapping of fields is needed",
    "int_type": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_type": "a number is needed",
    "string_type": "text is needed",
    "bool_type": "true or false is needed",
}
"""Ours, for errors of which pydantic speaks in those of Python."""
# Pydantic's other errors are wrong types; an error that a validator of ours raises is its own code.
_PYDANTIC_KINDS = frozenset(get_args(ErrorType))


class _UniqueKeyLoader(yaml.SafeLoader):
    """`yaml.safe_load` that refuses duplicate keys and aliases, whose nesting can grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise SpecError(Problem("not_allowed", "YAML aliases (*name) are not allowed in a spec"))
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise SpecError(Problem("duplicate_key", f"line {line} repeats the key {quote(key)}"))
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads `5e-3` as a string; a float without a dot is what people write for learning rates.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_spec(text: str | bytes) -> AnyJobSpec:
    """Reads a job spec from YAML (of which JSON is a subset).

    Args:
        text: At most 1 MiB of UTF-8.

    Returns:
        The validated spec with its defaults filled in.

    Raises:
        SpecError: With a problem for each thing wrong, each pointing to its field.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_SPEC_BYTES:
        raise SpecError(
            Problem("too_large", f"the spec has {len(raw)} bytes; at most {MAX_SPEC_BYTES} are allowed")
        )
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(Problem("invalid_encoding", f"the spec is not UTF-8: byte {error.start}")) from None
    try:
        _check_depth(decoded)
        document = yaml.load(decoded, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not YAML"
        raise SpecError(Problem("invalid_yaml", f"cannot be parsed{where}: {quote(reason, 120)}")) from None
    # Dates, integers of thousands of digits, and what a tag such as !!bool says that it is and is not.
    except (ValueError, OverflowError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise SpecError(
            Problem("out_of_range", f"a value cannot be read: {quote(str(error), 120)}")
        ) from None
    return load_spec(document)


def load_spec(document: object) -> AnyJobSpec:
    """Validates a parsed spec; see `parse_spec`.

    This is also the one place where specs of older schema versions are brought up to date.
    """
    if not isinstance(document, dict):
        raise SpecError(
            Problem("invalid_spec", f"a spec is a mapping of fields; found {_as_written(document)}")
        )
    problems = [*_unusable_values(document, "")]
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        problems.append(
            Problem(
                "not_allowed",
                f"found {quote(version)}; this release reads schema version {SCHEMA_VERSION}",
                "/schema_version",
            )
        )
    if problems:
        raise SpecError(problems)
    try:
        # Through JSON, so that lists may become tuples while "7" and true still are no integers.
        return _ADAPTER.validate_json(json.dumps(document))
    except ValidationError as error:
        raise SpecError(problems_of(error, document, _FIELD_NAMES)) from None


def problems_of(
    error: ValidationError, document: dict[str, Any], names: FieldNames | None = None
) -> list[Problem]:
    """What pydantic found wrong with a document, as problems that point into it.

    Args:
        error: Of the validation.
        document: What was validated.
        names: Of all fields there are, to say what may have been meant by one that is unknown.
    """
    details = error.errors(include_url=False)
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    # Looking costs milliseconds, and a spec may have thousands of unknown fields.
    explained = [] if names is None else unknown[:MAX_NAMED]
    return [
        _as_problem(detail, document, names if any(detail is each for each in explained) else None)
        for detail in details
        if not _is_consequence(detail, details)
    ]


def canonical_json(spec: AnyJobSpec) -> str:
    """The spec with every default, as JSON with sorted keys: equal specs give equal text."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def spec_sha256(spec: AnyJobSpec) -> str:
    """Identity of a spec, as hexadecimal SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON Schema of a job spec; kept as a golden file, because a change of it is a change of the API."""
    return _ADAPTER.json_schema()


def _check_depth(text: str) -> None:
    """Refuses deep nesting by its tokens, before any recursive code sees it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise SpecError(Problem("too_deep", f"nested deeper than {MAX_DEPTH} levels"))
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1


def _unusable_values(value: object, pointer: str) -> list[Problem]:
    """Values that JSON cannot carry or that no field takes: NaN, dates, keys that are not text."""
    if isinstance(value, dict):
        problems = [
            Problem("wrong_type", f"the key {quote(key)} is not text", pointer or "/")
            for key in value
            if not isinstance(key, str)
        ]
        for key, item in value.items():
            problems += _unusable_values(item, f"{pointer}/{pointer_token(key)}")
        return problems
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _unusable_values(item, f"{pointer}/{i}")]
    if isinstance(value, float) and not math.isfinite(value):
        return [Problem("not_finite", f"found {value}; a finite number is needed", pointer)]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return [Problem("out_of_range", "found an integer beyond 64 bits", pointer)]
    if isinstance(value, str) and any(0xD800 <= ord(character) < 0xE000 for character in value):
        return [Problem("invalid_unicode", "contains half of a surrogate pair", pointer)]
    if value is None or isinstance(value, bool | int | float | str):
        return []
    return [Problem("wrong_type", f"found a {type(value).__name__}; quote it to make it text", pointer)]


def code_of(kind: str) -> str:
    """Our code for a kind of pydantic error."""
    return _CODES.get(kind, "wrong_type" if kind in _PYDANTIC_KINDS else kind)


def words_of(detail: Mapping[str, Any]) -> str:
    """What an error of pydantic says, as the rest of a sentence."""
    if detail["type"] in _WORDS:
        return _WORDS[detail["type"]].format(**detail.get("ctx", {}))
    message = str(detail["msg"])
    return message[0].lower() + message[1:]


def _is_consequence(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list only seems too short because some of its items could not be read, and the like."""
    place = detail["loc"]
    if detail["type"] == "default_factory_not_called":  # of a field that was left out, for another's sake
        return len(details) > 1
    return detail["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other is not detail for other in details
    )


def _as_problem(detail: ErrorDetails, document: dict[str, Any], names: FieldNames | None) -> Problem:
    kind = detail["type"]
    code = code_of(kind)
    # Union tags appear in pydantic's location but not in the user's document.
    path: list[str | int] = []
    here: object = document
    for part in detail["loc"]:
        if isinstance(here, dict) and (part in here or part == detail["loc"][-1]):
            if part not in here and kind not in ("missing", "union_tag_not_found"):
                continue
            path.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            path.append(part)
            here = here[part]
    context = detail.get("ctx") or {}
    # A validator of a whole part may say which of its fields is meant.
    path += context.get("at", ())
    pointer = "/" + "/".join(pointer_token(part) for part in path)
    if code == "missing_field":
        tag = str(context.get("discriminator", "")).strip("'")
        if kind == "union_tag_not_found":
            pointer = pointer.rstrip("/") + f"/{tag}"
        return Problem(code, "is required", pointer)
    if kind == "union_tag_invalid":
        tag = str(context.get("discriminator", "")).strip("'")
        return Problem(
            code,
            f"found {quote(context.get('tag'))}; allowed: {context.get('expected_tags')}",
            pointer.rstrip("/") + f"/{tag}",
        )
    if code == "unknown_field":
        meant = "" if names is None else names.meant(document, path)
        return Problem(code, f"is not a field here{meant}", pointer)
    found = "" if isinstance(here, dict | list) or "at" in context else f"found {_as_written(here)}; "
    return Problem(code, f"{found}{words_of(detail)}", pointer)


def _as_written(value: object) -> str:
    """A value of a document as JSON and YAML have it, safe to print."""
    return json.dumps(value) if value is None or isinstance(value, bool) else quote(value)


def pointer_token(part: object) -> str:
    """A JSON pointer token (RFC 6901), printable and short."""
    text = str(part).replace("~", "~0").replace("/", "~1")
    return text if text.isprintable() and len(text) <= 80 else quote(text)
