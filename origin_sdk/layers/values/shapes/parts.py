"""Members and values of structures as bytes, and back as themselves."""

import struct
import typing
from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias, get_args, get_origin

from msgspec import inspect

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnstableKey, UnsupportedValue
from origin_sdk.layers.values.serialization import FORMATS, Typed, typed

__all__ = ["LENGTH", "Names", "Packing", "Pairs", "Values", "packed", "unpacked"]

Pairs: TypeAlias = list[tuple[bytes, bytes]]
LENGTH: Final = struct.Struct(">I")
_MEMBERS: Final = (
    *(inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.StrType, inspect.BytesType),
    *(inspect.UUIDType, inspect.DateType, inspect.TimeDeltaType, inspect.LiteralType, inspect.EnumType),
)
"""Types of which equal values have one rendering."""
_OF_MEMBERS: Final = (inspect.TupleType, inspect.VarTupleType, inspect.NamedTupleType)


class Packing(Protocol):
    """Compresses what is large, and expands what was; :class:`origin_sdk.layers.envelope.Wrapping`."""

    def pack_part(self, form: int, data: bytes) -> bytes:
        """Return data with how to read it before it."""
        ...

    def unpack_part(self, data: bytes) -> tuple[int, bytes]:
        """Return the form and the data."""
        ...


def packed(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return pairs as they go over the wire."""
    return b"".join([LENGTH.pack(len(each)) + each for pair in pairs for each in pair])


def unpacked(data: bytes) -> list[bytes]:
    """Return what :func:`packed` was given, flat. Raises UnreadableRecord."""
    found, place = [], 0
    while place < len(data):
        if place + LENGTH.size > len(data):
            raise UnreadableRecord("a structure that is cut off")
        (length,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size
        found.append(data[place : place + length])
        place += length
    if place != len(data):
        raise UnreadableRecord("a structure that is cut off")
    return found


class Names:
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


class Values:
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
