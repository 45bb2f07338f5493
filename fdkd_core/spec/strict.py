"""The base of every spec model: frozen, unknown keys refused, no type coercion, finite numbers only."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

# Bidirectional overrides and zero-width characters can make two different names look the same.
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def refuse_invisible(text: str) -> str:
    """Returns `text`, or refuses control, zero-width, bidi and lone-surrogate characters."""
    for character in text:
        if ord(character) < 32 or 127 <= ord(character) < 160 or character in _INVISIBLE:
            raise PydanticCustomError(
                "invalid_characters",
                "contains the invisible character U+{code}",
                {"code": f"{ord(character):04X}"},
            )
        if 0xD800 <= ord(character) < 0xE000:
            raise PydanticCustomError("invalid_unicode", "contains half of a surrogate pair", {})
    return text


class StrictModel(BaseModel):
    """A frozen model that says no to anything it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @model_validator(mode="after")
    def _is_always_named(self) -> Self:
        """Counts the tag that tells kinds of a model apart as stated, whoever made the model.

        What was stated is what a client sends: without its tag, a method made in Python as `DISTSpec()` would
        be an object without fields, which is nothing.
        """
        self.model_fields_set.update(_tags(type(self)))
        return self


@cache
def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """Fields of which only one text is possible, such as `name: Literal["dist"]`."""
    choices = {
        name: get_args(field.annotation)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    return tuple(name for name, found in choices.items() if len(found) == 1 and isinstance(found[0], str))


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(refuse_invisible)]
"""Free text shown to people: 1 to 128 characters, none of them invisible."""

Key = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
"""A name that other things refer to: a modality's column, a dataset."""
