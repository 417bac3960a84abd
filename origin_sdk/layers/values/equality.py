"""Whether what was read is what was written, in all its parts: equal values of one type aren't always."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isnan
from typing import Any
from uuid import UUID

import msgspec

from origin_sdk.layers.values import pydantic_models

__all__ = ["is_same", "unclassed"]


def is_same(value: object, found: object) -> bool:
    """Whether ``found`` can stand for ``value``: of one type, and so are their parts, in one order."""
    kind = type(value)
    if kind is not type(found):
        return False
    if kind in _PLAIN:
        return bool(value == found)
    compared = _COMPARED.get(kind)
    return compared(value, found) if compared else _is_same_object(value, found)


_PLAIN = frozenset({type(None), bool, int, str, bytes, bytearray, UUID, date, timedelta})
"""Those of which equal values are one value."""


def _is_same_list(value: Collection[object], found: Collection[object]) -> bool:
    if len(value) != len(found):
        return False
    for each, other in zip(value, found, strict=True):
        # As above, for the most of what values consist of, without a call.
        if type(each) in _PLAIN and type(each) is type(other):
            if each != other:
                return False
        elif not is_same(each, other):
            return False
    return True


def _is_same_dict(value: dict[object, object], found: dict[object, object]) -> bool:
    return _is_same_list(value.keys(), found.keys()) and _is_same_list(value.values(), found.values())


def _is_same_set(value: Collection[object], found: Collection[object]) -> bool:
    return {(type(each), each) for each in value} == {(type(each), each) for each in found}


def _is_same_time(value: datetime | time, found: datetime | time) -> bool:
    """Compare as written; the offset says which of two times that read alike it is."""
    return _moment(value) == _moment(found)


def _moment(value: datetime | time) -> tuple[object, ...]:
    fold = value.fold if value.tzinfo is None else 0
    return value.isoformat(), fold, getattr(value.tzinfo, "key", None)


_COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    float: lambda value, found: value == found or (isnan(value) and isnan(found)),
    Decimal: lambda value, found: str(value) == str(found),
    datetime: _is_same_time,
    time: _is_same_time,
    list: _is_same_list,
    tuple: _is_same_list,
    dict: _is_same_dict,
    OrderedDict: _is_same_dict,
    set: _is_same_set,
    frozenset: _is_same_set,
}


def _is_same_object(value: object, found: Any) -> bool:
    if isinstance(value, tuple):
        return _is_same_list(value, found)
    names = fields_of(type(value))
    if names is None:
        return bool(value == found)
    return all(is_same(getattr(value, name, None), getattr(found, name, None)) for name in names)


def fields_of(kind: type) -> tuple[str, ...] | None:
    """Return the names of what an object consists of; None for what consists of nothing."""
    if (names := pydantic_models.fields_of(kind)) is not None:
        return names
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    attributes: tuple[Any, ...] | None = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple(each.name for each in attributes)


def unclassed(value: Any) -> object:
    """Return a value with what msgspec would write of its objects in their place; all else is as it was."""
    kind = type(value)
    if kind is dict:
        return {unclassed(key): unclassed(each) for key, each in value.items()}
    if kind in {list, set, frozenset} or isinstance(value, tuple):
        return (tuple if isinstance(value, tuple) else kind)(map(unclassed, value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return _of_struct(value)
    if (names := fields_of(kind)) is not None:
        return {name: unclassed(getattr(value, name)) for name in names}
    return value


def _of_struct(value: msgspec.Struct) -> Mapping[str, object] | list[object]:
    config = value.__struct_config__
    names = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    tag: dict[str, object] = {} if config.tag is None else {str(config.tag_field): config.tag}
    written: dict[str, object] = tag | {
        written: unclassed(getattr(value, name)) for name, written in names.items()
    }
    return list(written.values()) if config.array_like else written
