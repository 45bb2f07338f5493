"""Checks JSON from a user against a strict model and says in our words what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from fdkd_core.errors import Problem, quote

Model = TypeVar("Model", bound=BaseModel)

_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "literal_error": "not_allowed",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "finite_number": "not_finite",
    "too_long": "exceeds_limit",
    "string_too_long": "exceeds_limit",
    "incompatible": "incompatible",
    "exceeds_limit": "exceeds_limit",
    "not_allowed": "not_allowed",
    "invalid_tokenizer": "invalid_tokenizer",
}
"""Pydantic's error types in the codes of our errors; those of `refusal` stand for themselves."""

MAX_PROBLEMS = 10
"""Problems reported at once: enough to fix a file in one go, few enough to read."""


class OptionError(ValueError):
    """Options or a recipe are not valid. `problems` point at fields, without the column's name."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def refusal(code: str, detail: str) -> PydanticCustomError:
    """The error for a model's own validator to raise when fields do not fit together.

    Args:
        code: `incompatible`, `exceeds_limit`, `not_allowed` or `invalid_tokenizer`.
        detail: One sentence.
    """
    return PydanticCustomError(code, "{detail}", {"detail": detail})


def parse(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Returns `data` as a `model`.

    Raises:
        OptionError: At most ten problems, each naming its field, what was found and what is allowed.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        problems = list(_problems(model, error))
    raise OptionError(*problems[:MAX_PROBLEMS])


def _problems(model: type[BaseModel], error: ValidationError) -> Iterator[Problem]:
    for found in error.errors(include_url=False, include_context=False):
        code = _CODES.get(found["type"], "wrong_type")
        field = "/".join(str(part)[:64] for part in found["loc"])
        if code == "unknown_field":
            allowed = ", ".join(sorted(model.model_fields))
            detail = f"{quote(field)} is not an option here; allowed are {allowed}"
        elif code == "missing_field":
            detail = "this field is required"
        elif found["type"] == code:
            detail = found["msg"]
        else:
            value = found["input"]
            detail = f"found {quote(value[:80] if isinstance(value, str) else value)}: {found['msg']}"
        yield Problem(code, detail, pointer=f"/{field}" if field.isascii() else quote(field))
