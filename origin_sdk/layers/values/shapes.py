"""What of a structured value is a member and what its value, as bytes and back as themselves."""

import collections.abc
import dataclasses
import math
import struct
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Generic, Literal, TypeAlias, TypeGuard, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnstableKey, UnsupportedValue
from origin_sdk.layers.values.aliases import unaliased
from origin_sdk.layers.values.equality import fields_of, is_same
from origin_sdk.layers.values.serialization import FORMATS, Typed, typed

__all__ = [
    "AnyShape",
    "Hash",
    "KeptAs",
    "Members",
    "Packing",
    "Pairs",
    "Shape",
    "SortedItems",
    "SortedSet",
    "shape_of",
]

KeptAs = Literal["value", "hash", "set", "sorted-set"]
Pairs: TypeAlias = list[tuple[bytes, bytes]]
_Whole = TypeVar("_Whole")
"""What holds all of a structure."""
_LENGTH: Final = struct.Struct(">I")
_NONE: Final = b"n"
_SHAPES: Final = {"hash": "a hash", "set": "a set", "sorted-set": "a sorted set"}
_MEMBERS: Final = (
    *(inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.StrType, inspect.BytesType),
    *(inspect.UUIDType, inspect.DateType, inspect.TimeDeltaType, inspect.LiteralType, inspect.EnumType),
)
"""Types of which equal values have one rendering."""
_OF_MEMBERS: Final = (inspect.TupleType, inspect.VarTupleType, inspect.NamedTupleType)
_MOST_EXACT: Final = 1 << 53
"""The largest integer up to which a score holds each one."""


class Packing(typing.Protocol):
    """Compresses what is large, and expands what was; :class:`origin_sdk.layers.envelope.Wrapping`."""

    def pack_part(self, form: int, data: bytes) -> bytes:
        """Return data with how to read it before it."""
        ...

    def unpack_part(self, data: bytes) -> tuple[int, bytes]:
        """Return the form and the data."""
        ...


def packed(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return pairs as they go over the wire."""
    return b"".join([_LENGTH.pack(len(each)) + each for pair in pairs for each in pair])


def unpacked(data: bytes) -> list[bytes]:
    """Return what :func:`packed` was given, flat. Raises UnreadableRecord."""
    found, place = [], 0
    while place < len(data):
        if place + _LENGTH.size > len(data):
            raise UnreadableRecord("a structure that is cut off")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        found.append(data[place : place + length])
        place += length
    if place != len(data):
        raise UnreadableRecord("a structure that is cut off")
    return found


class _Names:
    """Members as bytes: two are one only if they are equal and of one type."""

    def __init__(self, kind: object, where: str) -> None:
        self._kind = kind
        if kind is not str and not _has_one_rendering(kind):
            raise InvalidFamily(
                f"{where} of type {kind!r} can't be found again: str, int, bytes, UUID, dates, enums, "
                "literals, and tuples of them can"
            )
        self._typed = typed(kind)

    def encode(self, value: object) -> bytes:
        """Return the bytes of a member. Raises UnstableKey for what isn't one."""
        if self._kind is str and type(value) is str:
            return value.encode(errors="surrogatepass")
        try:
            form, data = self._typed.encode(value, FORMATS["msgpack"])
        except UnsupportedValue as error:
            raise UnstableKey(f"{value!r} isn't a member of type {self._kind!r}: {error}") from error
        if self._kind is str or form != FORMATS["msgpack"]:
            raise UnstableKey(f"{value!r} isn't a member of type {self._kind!r}")
        return data

    def decode(self, data: bytes) -> object:
        """Return the member."""
        if self._kind is str:
            return data.decode(errors="surrogatepass")
        found: object = self._typed.forms[FORMATS["msgpack"]].decode(data)
        return found


def _has_one_rendering(kind: object) -> bool:
    try:
        info = inspect.type_info(kind)
    except (TypeError, NameError):
        return False
    if isinstance(info, inspect.UnionType):
        parts = info.types
        # 1 and True are one member of a dict, but not of a hash.
        is_mixed = any(isinstance(each, inspect.BoolType) for each in parts) and any(
            isinstance(each, inspect.IntType | inspect.EnumType | inspect.LiteralType) for each in parts
        )
        return not is_mixed and all(isinstance(each, _MEMBERS) for each in parts)
    if isinstance(info, _OF_MEMBERS):
        return all(_has_one_rendering(each) for each in _item_types(kind))
    return isinstance(info, _MEMBERS)


def _item_types(kind: object) -> list[object]:
    if get_origin(kind) is tuple:
        return [each for each in get_args(kind) if each is not Ellipsis]
    return list(typing.get_type_hints(kind).values())


class _Values:
    """Values as bytes, each with the form that it is written in before it."""

    def __init__(self, kind: object) -> None:
        self._typed: Typed = typed(kind)

    def encode(self, value: object, packing: Packing, preferred: int) -> bytes:
        """Return the bytes of a value. Raises UnsupportedValue."""
        return packing.pack_part(*self._typed.encode(value, preferred))

    def decode(self, data: bytes, packing: Packing) -> object:
        """Return the value. Raises UnreadableRecord."""
        form, payload = packing.unpack_part(data)
        known = self._typed.forms.get(form)
        if known is None:
            raise UnreadableRecord("a part of a structure in an unknown form")
        found: object = known.decode(payload)
        return found


class Shape(Generic[_Whole]):
    """A kind of structure: its values to pairs of bytes, and back."""

    letter: str
    """What its record says that it is."""
    takes_parts = True
    """Whether parts may be written."""

    def __init__(self, kind: object, *, may_be_none: bool) -> None:
        self.kind = kind
        self.answers: object = None
        """The family of what is answered of a family's parts."""
        self._may_be_none = may_be_none

    def encode(self, value: object, packing: Packing, preferred: int) -> bytes:
        """Return a whole value: its letter, and pairs. Raises UnsupportedValue."""
        if value is None and self._may_be_none:
            return _NONE
        if not self._is_whole(value):
            raise self._of_another_type(value)
        try:
            pairs = self.pairs(value, packing, preferred)
        except UnstableKey as error:
            raise UnsupportedValue(str(error)) from error
        if not is_same(value, self.value(pairs, packing)):
            raise UnsupportedValue(
                f"a {type(value).__name__} would not come back as itself: its parts don't say all"
            )
        letter = self.letter if pairs else self.letter.upper()
        return letter.encode() + packed(pairs)

    def decode(self, data: bytes, packing: Packing) -> _Whole | None:
        """Return the whole value. Raises UnreadableRecord."""
        if data[:1] == _NONE:
            return None
        if data[:1].decode().lower() != self.letter:
            raise UnreadableRecord(f"kept as {data[:1]!r}, where {self.letter!r} is declared")
        flat = unpacked(data[1:])
        return self.value(list(zip(flat[::2], flat[1::2], strict=True)), packing)

    def require(self, value: object) -> None:
        """Raise UnsupportedValue for what isn't of the declared type."""
        if not self._is_whole(value):
            raise self._of_another_type(value)

    def _is_whole(self, value: object) -> TypeGuard[_Whole]:
        return type(value) is self.container

    def _of_another_type(self, value: object) -> UnsupportedValue:
        return UnsupportedValue(f"a {type(value).__name__}, where {self.kind!r} is declared")

    @property
    def container(self) -> type:
        """The class of whole values."""
        raise NotImplementedError

    def pairs(self, value: _Whole, packing: Packing, preferred: int) -> Pairs:
        """Return what a whole value consists of. Raises UnsupportedValue."""
        raise NotImplementedError

    def value(self, pairs: Pairs, packing: Packing) -> _Whole:
        """Return the whole value of pairs."""
        raise NotImplementedError

    def normal(self, value: object) -> object:
        """Return a whole value in the order in which Redis would return it, where it has one."""
        return value

    def member(self, given: object) -> bytes:
        """Return a member as bytes. Raises UnstableKey for what isn't one."""
        raise NotImplementedError

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        """Return a member with its value as bytes. Raises UnsupportedValue, UnstableKey."""
        raise NotImplementedError

    def changed(self, value: _Whole, put: Mapping[object, object], removed: Iterable[object]) -> object:
        """Return a whole value with parts written; the given one stays as it is."""
        raise NotImplementedError


AnyShape: TypeAlias = Shape[Any]


def _with_changes(
    value: Mapping[object, object], put: Mapping[object, object], removed: Iterable[object]
) -> dict[Any, object]:
    found = {**value, **put}
    for each in removed:
        found.pop(each, None)
    return found


class Hash(Shape[Any]):
    """A dict, or an object by its fields."""

    letter = "h"

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        if get_origin(kind) is dict:
            member, value = get_args(kind)
            self.fields: Mapping[str, _Values] | None = None
            self._names, self._any = _Names(member, "fields of a hash"), _Values(value)
        else:
            self.fields = {name: _Values(each) for name, each in _annotated(kind).items()}
            self._names, self._any = _Names(str, ""), _Values(Any)
        self._class: type = get_origin(kind) or kind
        self._makes_dict = self.fields is None or typing.is_typeddict(kind)

    @property
    def container(self) -> type:
        """The class of whole values."""
        return dict if self._makes_dict else self._class

    def _items(self, value: Any) -> Iterator[tuple[str, object]]:
        if self._makes_dict:
            return iter(value.items())
        return ((name, getattr(value, name)) for name in self.fields or ())

    def field_of(self, value: Any, name: Any) -> tuple[object, ...]:
        """Return the value of a field as the only item; nothing if it isn't there."""
        if self._makes_dict:
            return (value[name],) if name in value else ()
        return (getattr(value, name),)

    def pairs(self, value: object, packing: Packing, preferred: int) -> Pairs:
        return [self.part(name, each, packing, preferred) for name, each in self._items(value)]

    def value(self, pairs: Pairs, packing: Packing) -> object:
        found = {self._names.decode(name): each for name, each in pairs}
        if self.fields is None:
            return {name: self._any.decode(each, packing) for name, each in found.items()}
        known = {name: of.decode(found[name], packing) for name, of in self.fields.items() if name in found}
        if self._makes_dict:
            return known
        if len(known) != len(self.fields):
            raise UnreadableRecord(
                f"a {self._class.__name__} without {sorted(self.fields.keys() - known.keys())}"
            )
        make = getattr(self._class, "model_construct", self._class)
        return make(**known)

    def value_of(self, member: object, data: bytes, packing: Packing) -> object:
        """Return the value of a field."""
        return self._values_of(member).decode(data, packing)

    def _values_of(self, member: Any) -> _Values:
        return self._any if self.fields is None else self.fields[member]

    def member(self, given: object) -> bytes:
        if self.fields is not None and given not in self.fields:
            raise UnstableKey(f"{given!r} isn't a field of {self._class.__name__}: {', '.join(self.fields)}")
        return self._names.encode(given)

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        return self.member(member), self._values_of(member).encode(given, packing, preferred)

    def changed(self, value: Any, put: Mapping[object, object], removed: Iterable[object]) -> object:
        if self._makes_dict:
            return _with_changes(value, put, removed)
        fields = _with_changes(dict(self._items(value)), put, ())
        return getattr(self._class, "model_construct", self._class)(**fields)

    def may_remove(self, member: object) -> bool:
        """Whether a value without this field is one."""
        if self.fields is None:
            return True
        return typing.is_typeddict(self.kind) and member in getattr(self.kind, "__optional_keys__", ())


def _annotated(kind: object) -> dict[str, object]:
    """Return the types of an object's fields. Raises InvalidFamily for what has none, or more than them."""
    is_named = isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
    names = getattr(kind, "_fields", ()) if is_named else None
    if typing.is_typeddict(kind):
        names = tuple(typing.get_type_hints(kind))
    elif names is None and isinstance(kind, type):
        names = tuple(kind.model_fields) if hasattr(kind, "model_fields") else fields_of(kind)
    if not names:
        raise InvalidFamily(
            f"{kind!r} has no fields that a hash could have: declare dict[str, …], a dataclass, Struct, "
            "TypedDict, named tuple or pydantic model"
        )
    if dataclasses.is_dataclass(kind):
        for each in dataclasses.fields(kind):
            if not each.init:
                raise InvalidFamily(
                    f"{kind!r}: {each.name} isn't given when one is made, so that a hash can't hold it"
                )
    hints = typing.get_type_hints(kind)
    return {name: hints.get(name, Any) for name in names}


class Members(Shape[AbstractSet[object]]):
    """A set."""

    letter = "s"

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        self._class: Callable[[Iterable[object]], AbstractSet[object]] = get_origin(kind)
        self._names = _Names(get_args(kind)[0], "members of a set")

    @property
    def container(self) -> type:
        """The class of whole values."""
        return set if self._class is set else frozenset

    def pairs(self, value: AbstractSet[object], packing: Packing, preferred: int) -> Pairs:
        del packing, preferred
        return [(self.member(each), b"") for each in value]

    def value(self, pairs: Pairs, packing: Packing) -> AbstractSet[object]:
        del packing
        return self._class(self._names.decode(member) for member, _ in pairs)

    def name_of(self, data: bytes) -> object:
        """Return the member of bytes."""
        return self._names.decode(data)

    def member(self, given: object) -> bytes:
        return self._names.encode(given)

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        del given, packing, preferred
        return self.member(member), b""

    def changed(
        self, value: AbstractSet[object], put: Mapping[object, object], removed: Iterable[object]
    ) -> object:
        return self._class((set(value) | put.keys()) - set(removed))


class SortedSet(Shape[dict[object, float]]):
    """A dict of scores, from the lowest up; members of one score by their bytes, as Redis has them."""

    letter = "z"

    def __init__(self, kind: object, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        member, self._score = get_args(kind)
        if self._score not in {int, float}:
            raise InvalidFamily(f"{kind!r}: scores are of float or int: declare dict[{member!r}, float]")
        self._names = _Names(member, "members of a sorted set")

    @property
    def container(self) -> type:
        """The class of whole values."""
        return dict

    def pairs(self, value: dict[object, float], packing: Packing, preferred: int) -> Pairs:
        return [self.part(member, score, packing, preferred) for member, score in value.items()]

    def value(self, pairs: Pairs, packing: Packing) -> dict[object, float]:
        del packing
        return {self._names.decode(member): self.score_of(score) for member, score in pairs}

    def name_of(self, data: bytes) -> object:
        """Return the member of bytes."""
        return self._names.decode(data)

    def score_of(self, data: bytes) -> float:
        """Return the score of bytes."""
        score = float(data)
        return int(score) if self._score is int else score

    def normal(self, value: object) -> object:
        if type(value) is not dict:
            return value
        try:
            ordered = sorted(value, key=lambda each: (value[each], self.member(each)))
        except (TypeError, UnstableKey):
            return value
        return {member: value[member] for member in ordered}

    def member(self, given: object) -> bytes:
        return self._names.encode(given)

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        del packing, preferred
        if not (isinstance(given, int | float) and type(given) is self._score and _is_score(given)):
            raise UnsupportedValue(
                f"the score {given!r}, where {self._score.__name__} is declared: no sorted set has it"
            )
        return self.member(member), repr(given).encode()

    def changed(
        self, value: dict[object, float], put: Mapping[object, object], removed: Iterable[object]
    ) -> object:
        return self.normal(_with_changes(value, put, removed))


def _is_score(given: float) -> bool:
    """Whether a sorted set holds a number as it is: -0.0 comes back as 0, and large integers are rounded."""
    is_exact = type(given) is float or abs(given) <= _MOST_EXACT
    return is_exact and not math.isnan(given) and (given != 0 or math.copysign(1, given) > 0)


class SortedItems(Shape[Sequence[object]]):
    """A list, in pages: the place of an item is its score."""

    letter = "z"
    takes_parts = False

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        self._class: Callable[[Iterable[object]], Sequence[object]] = get_origin(kind)
        self._values = _Values(get_args(kind)[0])

    @property
    def container(self) -> type:
        """The class of whole values."""
        return list if self._class is list else tuple

    def pairs(self, value: Sequence[object], packing: Packing, preferred: int) -> Pairs:
        return [
            (_LENGTH.pack(place) + self._values.encode(each, packing, preferred), str(place).encode())
            for place, each in enumerate(value)
        ]

    def value(self, pairs: Pairs, packing: Packing) -> Sequence[object]:
        return self._class(self.item_of(member, packing) for member, _ in pairs)

    def item_of(self, data: bytes, packing: Packing) -> object:
        """Return the item of bytes."""
        return self._values.decode(data[_LENGTH.size :], packing)

    def member(self, given: object) -> bytes:
        del given
        raise InvalidFamily(f"items of {self.kind!r} have no names: keep dict[…, float] for that")


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
        "set": {set: Members, frozenset: Members},
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


READ_ERRORS: Final = (msgspec.MsgspecError, ValueError, TypeError, LookupError)
