"""What whoever wrote a field that does not exist may have meant, from the schema of specs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

Schema = Mapping[str, Any]
_MAX_DEPTH = 4
_MAX_PLACES = 2
_MAX_CHARACTERS = 64
"""Of a name that are looked at."""
_CLOSE = 0.8
"""From which likeness on a name is taken for a slip of the pen, whatever else there is."""


class FieldNames:
    """The fields of a JSON Schema whose root is one of several models, told apart by `kind`."""

    def __init__(self, schema: Callable[[], Schema]) -> None:
        self._schema = cache(schema)  # made when somebody first errs

    def meant(self, document: Mapping[str, Any], path: Sequence[str | int]) -> str:
        """A few words behind `is not a field here`, empty where nothing comes to mind.

        Args:
            document: What was written.
            path: Of the unknown field in it, with its name at the end.
        """
        name, parent = str(path[-1])[:_MAX_CHARACTERS], path[:-1]
        here = self._fields(self._at(document, parent))
        if near := get_close_matches(name, here, n=1, cutoff=_CLOSE):
            return f"; did you mean `{near[0]}`?"
        kinds = self._schema().get("discriminator", {}).get("mapping", {})
        having = [kind for kind, ref in kinds.items() if name in self._fields([{"$ref": ref}])]
        if not parent and having:
            return f"; jobs of kind {' and '.join(having)} have it"
        root = self._chosen(self._schema(), document)
        places = list(dict.fromkeys(place for place, found in self._places(root, document) if found == name))
        below = [place for place in places if place.startswith("/".join(("", *map(str, parent), "")))]
        if places := (below or places)[:_MAX_PLACES]:
            return f"; there is {' and '.join(places)}"
        near = get_close_matches(name, here, n=1)
        return f"; did you mean `{near[0]}`?" if near else ""

    def _at(self, document: Any, path: Sequence[str | int]) -> list[Schema]:
        """The schemas of the part of the document at this path."""
        found = self._chosen(self._schema(), document)
        for part in path:
            document = document[part]
            below = [self._below(schema, part) for schema in found]
            found = [
                each for schema in below if schema is not None for each in self._chosen(schema, document)
            ]
        return found

    def _below(self, schema: Schema, part: str | int) -> Schema | None:
        if isinstance(part, int):
            found: Schema | None = schema.get("items")
            return found
        return cast("Schema | None", schema.get("properties", {}).get(part))

    def _chosen(self, schema: Schema, document: Any) -> list[Schema]:
        """The schema without references, or of a union those that the document has chosen, else all."""
        if "$ref" in schema:
            return self._chosen(self._schema()["$defs"][schema["$ref"].rpartition("/")[2]], document)
        options = schema.get("oneOf") or schema.get("anyOf")
        if not options:
            return [schema]
        by = schema.get("discriminator")
        if by and isinstance(document, Mapping):
            tag = document.get(by["propertyName"])
            if isinstance(tag, str) and tag in by["mapping"]:
                return self._chosen({"$ref": by["mapping"][tag]}, document)
        return [each for option in options for each in self._chosen(option, document)]

    def _fields(self, schemas: Sequence[Schema]) -> list[str]:
        return [
            name
            for schema in schemas
            for each in self._chosen(schema, None)
            for name in each.get("properties", ())
        ]

    def _places(self, schemas: Sequence[Schema], document: Any) -> Iterator[tuple[str, str]]:
        """Pointer and name of each field, those that are least deep first."""
        waiting = deque((schema, document, "") for schema in schemas)
        while waiting:
            schema, written, pointer = waiting.popleft()
            for name, field in schema.get("properties", {}).items():
                place = f"{pointer}/{name}"
                yield place, name
                if place.count("/") < _MAX_DEPTH:
                    value = written.get(name) if isinstance(written, Mapping) else None
                    waiting.extend((each, value, place) for each in self._chosen(field, value))
