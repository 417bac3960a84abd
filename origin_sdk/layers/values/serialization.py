"""Values of a family's type to bytes, and back as themselves. Never pickle.

There are three forms: JSON and MessagePack, in which msgspec writes a value in one go, and MessagePack with
tags (:mod:`origin_sdk.layers.values.messagepack`) for what those have no word for: a set in a ``dict``, a
zone, an ``int`` of 80 bits. Whoever writes reads what it wrote: a value is stored in the form that the cache
prefers if it comes back as itself from that, else with tags if it does from those, else not at all.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import inspect

from origin_sdk.layers.errors import InvalidFamily, UnsupportedValue
from origin_sdk.layers.values import pydantic_models
from origin_sdk.layers.values.aliases import unaliased
from origin_sdk.layers.values.equality import is_same, unclassed
from origin_sdk.layers.values.immutability import is_unchangeable
from origin_sdk.layers.values.messagepack import READ_ERRORS, Tagging, is_taggable

__all__ = ["FORMATS", "NATIVE", "READ_ERRORS", "TAGGED", "Form", "Format", "Typed", "typed"]

Format = Literal["json", "msgpack"]
FORMATS: dict[Format, int] = {"json": 1, "msgpack": 2}
"""Their numbers in an envelope."""
TAGGED = 3
NATIVE = 4
"""That of structures, whose parts lie in Redis by themselves, each in one of the others."""
_AS_THEY_ARE = frozenset({type(None), bool, bytes})
"""Types whose values each form has a word for."""
_CLOSED = (
    *(inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType),
    *(inspect.BytesType, inspect.DecimalType, inspect.UUIDType, inspect.DateType, inspect.TimeDeltaType),
    *(inspect.LiteralType, inspect.EnumType),
)
"""Types of which equal values are one value."""


class Form(NamedTuple):
    """Writes and reads values of a type in one form."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], object]


class Typed:
    """How values of a type are written. Raises InvalidFamily if none could be."""

    def __init__(self, kind: object) -> None:
        kind = unaliased(kind)
        self._kind = Any if kind is object else kind
        self._is_closed = False
        self.forms: dict[int, Form] = {}
        """By their numbers. A form that hasn't a word for the type itself isn't there."""
        if pydantic_models.are_in(self._kind):
            self.forms[TAGGED] = _of_models(self._kind)
        elif is_taggable(self._kind) and not _is_known(self._kind):
            self.forms[TAGGED] = _TAGS
        else:
            self._add_forms(_checked(self._kind))

    def _add_forms(self, info: inspect.Type) -> None:
        self._is_closed = _is_closed(info, set())
        for number, module in ((1, msgspec.json), (2, msgspec.msgpack)):
            try:
                self.forms[number] = Form(module.Encoder().encode, module.Decoder(self._kind).decode)
            except TypeError:  # such as JSON for dict[tuple[int, int], str]
                continue
        self.forms[TAGGED] = _TAGS if self._kind is Any else _converted(self._kind)

    def require_unchangeable(self, name: str) -> None:
        """Raise InvalidFamily if values of the type, or their parts, could be changed by a caller."""
        if not is_unchangeable(self._kind):
            raise InvalidFamily(
                f"family {name}: values of type {_shown(self._kind)} can be changed, and so can't be frozen: "
                "declare frozen dataclasses, Structs or named tuples, of tuples and frozensets; or say "
                "values='copied'"
            )

    def encode(self, value: object, preferred: int) -> tuple[int, bytes]:
        """Return a value's form and bytes. Raises UnsupportedValue for what comes back from no form."""
        reason: Exception | None = None
        for number in (preferred, TAGGED):
            form = self.forms.get(number)
            if form is None:
                continue
            try:
                data = form.encode(value)
                if self._comes_back(value, form, data):
                    return number, data
            except READ_ERRORS as error:
                reason = error
        name = type(value).__name__
        if self._kind is Any:
            raise UnsupportedValue(
                f"a {name} comes back as itself only if the family says so: annotate what the function "
                f"returns, or declare Family(…, type={name}){_because(reason)}"
            ) from reason
        raise UnsupportedValue(
            f"a {name} would not come back as itself from what is declared as {_shown(self._kind)}: declare "
            f"what it is{_because(reason)}"
        ) from reason

    def _comes_back(self, value: object, form: Form, data: bytes) -> bool:
        if type(value) is self._kind and self._kind in _AS_THEY_ARE:
            return True
        found = form.decode(data)
        return bool(self._is_closed and type(found) is type(value) and found == value) or is_same(
            value, found
        )


@cache
def _known(kind: object) -> Typed:
    return Typed(kind)


def typed(kind: object) -> Typed:
    """Return how values of a type are written. Raises InvalidFamily if none could be."""
    try:
        hash(kind)
    except TypeError:  # such as Annotated[int, []]
        return Typed(kind)
    return _known(kind)


_tagging = Tagging(keeps_broken_texts=True)
_TAGS = Form(_tagging.encode, _tagging.decode)


def _converted(kind: object) -> Form:
    return Form(
        lambda value: _tagging.encode(unclassed(value)),
        lambda data: msgspec.convert(_tagging.decode(data), kind),
    )


def _of_models(kind: object) -> Form:
    writer = pydantic_models.Models(kind)

    def encode(value: object) -> bytes:
        reason = "its fields don't say all of it"
        for parts in writer.dumps(value):
            try:
                data = _tagging.encode(unclassed(parts))
                if is_same(value, writer.load(_tagging.decode(data))):
                    return data
            except READ_ERRORS as error:
                reason = str(error)
        raise TypeError(reason)

    return Form(encode, lambda data: writer.load(_tagging.decode(data)))


def _is_known(kind: object) -> bool:
    try:
        inspect.type_info(kind)
    except TypeError:
        return False
    return True


def _checked(kind: object) -> inspect.Type:
    """Return what msgspec makes of a type. Raises InvalidFamily where it would fail at the first value."""
    try:
        info = inspect.type_info(kind)
        msgspec.msgpack.Decoder(kind)
    except (TypeError, NameError, RecursionError) as error:
        raise InvalidFamily(f"values of type {_shown(kind)} can't be stored: {error}. {_ADVICE}") from error
    if unknown := _unknown(info, set()):
        raise InvalidFamily(
            f"values of type {_shown(kind)} can't be stored: a {_shown(unknown)} would not come back as "
            f"itself. {_ADVICE}"
        )
    return info


_ADVICE = (
    "Return dataclasses, msgspec Structs, named tuples, TypedDicts, pydantic models, or what they consist "
    "of; a function that returns Any has its values in Redis where they are such, else in memory alone"
)


def _shown(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def _because(reason: Exception | None) -> str:
    return f" ({reason})" if reason else ""


def _parts(info: inspect.Type) -> list[inspect.Type]:
    found: list[inspect.Type] = []
    for name in getattr(info, "__struct_fields__", ()):
        part = getattr(info, name)
        for each in part if isinstance(part, tuple) else (part,):
            if isinstance(each, inspect.Field):
                found.append(each.type)
            elif isinstance(each, inspect.Type):
                found.append(each)
    return found


def _unknown(info: inspect.Type, seen: set[int]) -> type | None:
    """Return a class in a type that msgspec knows nothing of."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, inspect.CustomType):
        return None if info.cls is object else info.cls
    return next((found for each in _parts(info) if (found := _unknown(each, seen))), None)


def _is_closed(info: inspect.Type, seen: set[int]) -> bool:
    """Whether values of a type that are equal are one in all their parts."""
    if id(info) in seen:
        return True
    seen.add(id(info))
    if isinstance(info, _CLOSED):
        return True
    if isinstance(info, inspect.AnyType | inspect.CustomType | inspect.DateTimeType | inspect.TimeType):
        return False
    return bool(_parts(info)) and all(_is_closed(each, seen) for each in _parts(info))
