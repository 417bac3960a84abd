"""How structured values are kept, so that their parts can be asked for: as a hash, a set or a sorted set.

What a member and its value are as bytes is in :mod:`.parts`, what all structures do alike in :mod:`.base`.
"""

import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.values.aliases import unaliased
from origin_sdk.layers.values.shapes.base import AnyShape, Shape
from origin_sdk.layers.values.shapes.hashes import Hash
from origin_sdk.layers.values.shapes.parts import Packing, unpacked
from origin_sdk.layers.values.shapes.sets import MemberSet
from origin_sdk.layers.values.shapes.sorted_sets import SortedItems, SortedSet

__all__ = [
    "AnyShape",
    "Hash",
    "KeptAs",
    "MemberSet",
    "Packing",
    "Shape",
    "SortedItems",
    "SortedSet",
    "shape_of",
    "unpacked",
]

KeptAs = Literal["value", "hash", "set", "sorted-set"]
_SHAPES: Final = {"hash": "a hash", "set": "a set", "sorted-set": "a sorted set"}


def shape_of(kept_as: str, kind: object) -> AnyShape | None:
    """Return how values of a type are kept; None for whole values. Raises InvalidFamily."""
    if kept_as == "value":
        return None
    if kept_as not in _SHAPES:
        raise InvalidFamily(f"kept_as={kept_as!r}: one of {', '.join(get_args(KeptAs))} is needed")
    inner, may_be_none = _not_none(kind)
    origin, arguments = get_origin(inner), get_args(inner)
    if origin in {collections.abc.Mapping, collections.abc.MutableMapping}:
        origin, inner = dict, types.GenericAlias(dict, arguments)
    makers: Mapping[str, Mapping[object, Callable[..., AnyShape]]] = {
        "hash": {dict: Hash},
        "set": {set: MemberSet, frozenset: MemberSet},
        "sorted-set": {dict: SortedSet, list: SortedItems, tuple: SortedItems},
    }
    make = makers[kept_as].get(origin)
    if origin is tuple and arguments[1:] != (Ellipsis,):
        make = None
    if make is None and kept_as == "hash" and origin is None and inner not in {dict, Any, object}:
        make = Hash
    if make is None:
        wanted = {
            "hash": "dict[str, int], a dataclass, Struct, TypedDict, named tuple or pydantic model",
            "set": "set[str] or frozenset[str]",
            "sorted-set": "dict[str, float], a member and its score, or list[…], for pages",
        }
        raise InvalidFamily(f"{kind!r} can't be kept as {_SHAPES[kept_as]}: declare {wanted[kept_as]}")
    return make(inner, may_be_none=may_be_none)


def _not_none(kind: object) -> tuple[object, bool]:
    """Return a type without None, and whether it had that."""
    kind = unaliased(kind)
    if get_origin(kind) is typing.Annotated:
        return _not_none(get_args(kind)[0])
    if get_origin(kind) not in {typing.Union, types.UnionType}:
        return kind, False
    parts = [each for each in get_args(kind) if each is not type(None)]
    return (unaliased(parts[0]), True) if len(parts) == 1 else (kind, False)
