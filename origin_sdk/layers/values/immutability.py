"""Types of whose values no part can be changed."""

import dataclasses
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import UnionType
from uuid import UUID

import msgspec

from origin_sdk.layers.values import pydantic_models
from origin_sdk.layers.values.aliases import unaliased

__all__ = ["is_unchangeable"]

_SIMPLE = (type(None), bool, int, float, str, bytes, Decimal, UUID, date, datetime, time, timedelta)
_OF_PARTS = frozenset({tuple, frozenset, typing.Union, UnionType, typing.Annotated})


def is_unchangeable(kind: object, seen: frozenset[object] = frozenset()) -> bool:
    """Whether values of this type stay as they are, whatever a caller does."""
    kind = unaliased(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Literal or kind in seen or kind is None:
        return True
    if origin is typing.Annotated:
        return is_unchangeable(typing.get_args(kind)[0], seen)
    if origin in _OF_PARTS:
        return all(is_unchangeable(each, seen) for each in typing.get_args(kind) if each is not Ellipsis)
    return isinstance(kind, type) and origin is None and _is_unchangeable_class(kind, seen)


def _is_unchangeable_class(kind: type, seen: frozenset[object]) -> bool:
    if issubclass(kind, (*_SIMPLE, Enum)):
        return True
    return _is_frozen(kind) and all(
        is_unchangeable(each, seen | {kind})
        for each in typing.get_type_hints(kind, include_extras=True).values()
        if typing.get_origin(each) is not typing.ClassVar
    )


def _is_frozen(kind: type) -> bool:
    if issubclass(kind, tuple):
        return hasattr(kind, "_fields")
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # what is_dataclass looks for
    return pydantic_models.is_frozen(kind)
