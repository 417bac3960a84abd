"""Values of many types to bytes and back as themselves, where no family declares one type. Never pickle.

MessagePack, in which an extension ``code`` marks what it has no type for: its content is again a value, such
as the list that a set is made of. A code never changes its meaning; from 32 on it is an integration's own.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from origin_sdk.errors import InvalidRequest
from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord

__all__ = ["Tag", "Tagging", "UnsupportedValue"]

_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1
_DECLARED = 13


class UnsupportedValue(InvalidRequest):
    """A value that can't be cached, since it would not come back as itself."""


class Tag(NamedTuple):
    """How a type is written: ``dump`` returns what ``load`` takes, of types that can be written."""

    code: int
    kind: type
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    has_subclasses: bool = False
    """Whether subclasses are written so, too; they come back as ``kind``."""


def _from_datetime(value: datetime) -> list[str]:
    zone = value.tzinfo
    return [value.isoformat(), *([zone.key] if isinstance(zone, ZoneInfo) and zone.key else [])]


def _to_datetime(parts: list[str]) -> datetime:
    value = datetime.fromisoformat(parts[0])
    return value.astimezone(ZoneInfo(parts[1])) if len(parts) > 1 else value


def _pairs(value: dict[Any, Any]) -> list[list[Any]]:
    return [list(pair) for pair in value.items()]


_TAGS = (
    Tag(1, datetime, _from_datetime, _to_datetime),
    Tag(2, date, date.isoformat, date.fromisoformat),
    Tag(3, time, time.isoformat, time.fromisoformat),
    Tag(
        4,
        timedelta,
        lambda each: [each.days, each.seconds, each.microseconds],
        lambda parts: timedelta(*parts),
    ),
    Tag(5, Decimal, str, Decimal),
    Tag(6, UUID, lambda each: each.bytes, lambda data: UUID(bytes=data)),
    Tag(7, set, list, set),
    Tag(8, frozenset, list, frozenset),
    Tag(9, tuple, list, tuple),
    Tag(10, int, hex, lambda text: int(text, 16)),
    Tag(11, dict, _pairs, dict),
    Tag(12, OrderedDict, _pairs, OrderedDict),
)


class Tagging:
    """Writes and reads.

    ``types`` are dataclasses, Structs or enums that come back as themselves, ``plainer`` what a type of this
    name comes back as.
    """

    def __init__(
        self, types: Iterable[type] = (), tags: Iterable[Tag] = (), plainer: Mapping[str, type] | None = None
    ) -> None:
        known = (*_TAGS, *tags)
        self._by_kind = {tag.kind: tag for tag in known}
        self._by_code = {tag.code: tag for tag in known}
        self._families = [tag for tag in known if tag.has_subclasses]
        self._plainer = plainer or {}
        self._names = {kind: _name(kind) for kind in types}
        self._declared = {name: _decoder(kind) for kind, name in self._names.items()}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._load).decode

    def encode(self, value: object) -> bytes:
        """Return bytes. Raises UnsupportedValue for what would not come back as itself."""
        try:
            return self._encode(self._plain(value))
        except UnicodeEncodeError as error:
            raise UnsupportedValue(f"a text that isn't Unicode can't be cached: {error}") from error
        except RecursionError as error:
            raise UnsupportedValue("a value that is too deep, or holds itself, can't be cached") from error

    def decode(self, data: bytes) -> Any:
        """Return the value. Raises UnreadableRecord."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise UnreadableRecord(f"a cached value can't be read: {error}") from error

    def _plain(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS and (kind is not int or _MIN_INT <= value <= _MAX_INT):
            return value
        if kind is list:
            return [self._plain(each) for each in value]
        if kind is dict and all(type(key) in _SCALARS for key in value):
            return {self._plain(key): self._plain(each) for key, each in value.items()}
        if kind in self._names:
            return msgspec.msgpack.Ext(_DECLARED, self._encode([self._names[kind], self._typed(value)]))
        if plainer := self._plainer.get(_name(kind)):
            return self._plain(plainer(value))
        tag = self._by_kind.get(kind) or self._inherited(value)
        return msgspec.msgpack.Ext(tag.code, self._encode(self._plain(tag.dump(value))))

    def _inherited(self, value: Any) -> Tag:
        for tag in self._families:
            if isinstance(value, tag.kind):
                return tag
        raise UnsupportedValue(
            f"a {_name(type(value))} can't be cached: without pickle it wouldn't come back as itself. "
            "Cache what it consists of, such as a dict, or declare the type"
        )

    def _typed(self, value: object) -> bytes:
        try:
            return self._encode(value)
        except TypeError as error:
            raise UnsupportedValue(f"{value!r} can't be cached: {error}") from error

    def _load(self, code: int, data: memoryview) -> Any:
        content = self._decode(data)
        if code == _DECLARED:
            name, payload = content
            return self._declared[name](payload)
        return self._by_code[code].load(content)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _decoder(kind: type) -> Callable[[bytes], Any]:
    try:
        return msgspec.msgpack.Decoder(kind).decode
    except TypeError as error:
        raise InvalidFamily(f"values of type {kind!r} can't be declared: {error}") from error
