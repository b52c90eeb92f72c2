"""JSON schemas, in the dialect of OpenAPI 3.0, from the type hints of bodies and views.

Understood: text, numbers, booleans, None, `Any`, enumerations, `Literal`, `dict[str, X]`,
`list[X]`, unions, TypedDicts (with `NotRequired`), dataclasses, and `Annotated[X, ...]` with a
sentence for the reader, further keywords (``With(minimum=1)``), or `SPELLED`.
"""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bridge.core.case import Case, spell

Schema: TypeAlias = dict[str, Any]

# Marks what is nested in a result and yet spelled for the client, its nulls kept: the elements of
# a list in an object (abaco_contract.md 3.4, 3.13). All else that is nested is left as it is.
SPELLED = object()


_BOOLEANS_OF_FORMS = ("true", "false", "True", "False", "1", "0")  # bridge.core.fields


class With:
    """Further keywords of a schema, for `Annotated`, which wants something that can be hashed."""

    def __init__(self, **keywords: Any) -> None:
        """Take the keywords as JSON schema names them: ``With(minimum=1)``."""
        self.keywords = keywords


Moment = Annotated[str, With(format="date-time")]  # bridge.core.times

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "format": "binary"},
    Any: {},
    None: {"nullable": True, "enum": [None]},
    type(None): {"nullable": True, "enum": [None]},
}


class Schemas:
    """Makes schemas in one case; those of TypedDicts are collected under their names."""

    def __init__(self, case: Case) -> None:
        """Make schemas of JSON as a client of `case` reads and writes it."""
        self._case = case
        self.named: dict[str, Schema] = {}

    def of_body(self, hint: Any, *, form: bool = False) -> Schema:
        """Return the schema of a request's body; a `form` has no objects and no nulls."""
        if not (is_typeddict(hint) or dataclasses.is_dataclass(hint)):
            return self.of(hint)
        schema = self._object(hint, spelled=True, drop_nulls=False)
        required = schema.get("required", ())
        for name, part in schema["properties"].items():
            if name not in required:
                part["nullable"] = True  # the same as leaving it out
        if form:
            nested = {name for name, part in schema["properties"].items() if _is_nested(part)}
            for name in nested:
                del schema["properties"][name]
            for part in schema["properties"].values():
                part.pop("nullable", None)
                if part.get("type") == "boolean":
                    part |= {"type": "string", "enum": list(_BOOLEANS_OF_FORMS)}
            if "required" in schema:
                schema["required"] = [name for name in schema["required"] if name not in nested]
        return schema

    def of_result(self, hint: Any) -> Schema:
        """Return the schema of an envelope's `result`, as `spell_object` leaves it."""
        origin = get_origin(hint)
        if origin is list:
            return {"type": "array", "items": self.of_result(get_args(hint)[0])}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of_result(part) for part in get_args(hint)]}
        if is_typeddict(hint):
            return self._named(hint, spelled=True, drop_nulls=self._case == "camel")
        return self.of(hint)

    def of(self, hint: Any, *, spelled: bool = False) -> Schema:
        """Return the schema of a value that is nested somewhere."""
        origin, parts = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(parts[0], parts[1:], spelled)
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if origin is Literal:
            return _enumeration(parts)
        if origin is list:
            return {"type": "array", "items": self.of(parts[0], spelled=spelled)}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(parts[1], spelled=spelled)}
        if origin in (Union, types.UnionType):
            return self._union(parts, spelled)
        if is_typeddict(hint):
            return self._named(hint, spelled=spelled, drop_nulls=False)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _enumeration([word.value for word in hint])
        raise TypeError(f"no JSON schema is known for {hint!r}")

    def _annotated(self, hint: Any, marks: tuple[Any, ...], spelled: bool) -> Schema:
        schema = self.of(hint, spelled=spelled or SPELLED in marks)
        further: Schema = {}
        for mark in marks:
            if isinstance(mark, str):
                further["description"] = mark
            elif isinstance(mark, With):
                further |= mark.keywords
        if "$ref" in schema and further:
            schema = {"allOf": [schema]}
        return schema | further

    def _union(self, parts: tuple[Any, ...], spelled: bool) -> Schema:
        nullable = type(None) in parts
        schemas = [self.of(part, spelled=spelled) for part in parts if part is not type(None)]
        if len(schemas) > 1:
            return {"anyOf": schemas} | ({"nullable": True} if nullable else {})
        schema = {"allOf": schemas} if "$ref" in schemas[0] else schemas[0]
        return schema | ({"nullable": True} if nullable else {})

    def _named(self, hint: Any, *, spelled: bool, drop_nulls: bool) -> Schema:
        name = hint.__name__
        if spelled and not drop_nulls and self._case == "camel":
            name += "WithNulls"
        if name not in self.named:
            self.named[name] = {}  # so that one that contains itself ends
            schema = self._object(hint, spelled=spelled, drop_nulls=drop_nulls)
            self.named[name] = schema | {"additionalProperties": False}
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, hint: Any, *, spelled: bool, drop_nulls: bool) -> Schema:
        properties, required = {}, []
        about = {item.name: item for item in dataclasses.fields(hint)} if _is_class(hint) else {}
        for name, part in get_type_hints(hint, include_extras=True).items():
            key = spell(name, self._case) if spelled else name
            is_required = getattr(hint, "__total__", True)
            if get_origin(part) is NotRequired:
                part, is_required = get_args(part)[0], False  # noqa: PLW2901
            schema = self.of(part)
            is_any = part is Any or get_args(part)[:1] == (Any,)
            if name in about:
                is_required = _has_no_default(about[name])
                schema |= _of_field(about[name])
            if drop_nulls and (is_any or schema.pop("nullable", False)):
                is_required = False
            properties[key] = schema
            if is_required:
                required.append(key)
        return {"type": "object", "properties": properties} | (
            {"required": required} if required else {}
        )


def _enumeration(words: Any) -> Schema:
    return {"type": "string", "enum": list(words)}


def _is_class(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _is_nested(schema: Schema) -> bool:
    return schema.get("type") == "object" or schema.get("items", {}).get("type") == "object"


def _has_no_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _of_field(item: dataclasses.Field[Any]) -> Schema:
    """Return what a dataclass's field says of itself: its help, its bounds, its default."""
    schema: Schema = dict(item.metadata.get("schema", {}))
    if "help" in item.metadata:
        schema["description"] = item.metadata["help"]
    if item.default is not dataclasses.MISSING and item.default is not None:
        schema["default"] = item.default
    elif item.default_factory is not dataclasses.MISSING:
        schema["default"] = item.default_factory()
    return schema
