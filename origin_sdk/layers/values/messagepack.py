"""Values of many types to bytes and back as themselves, where no family declares one type. Never pickle.

MessagePack, in which an extension ``code`` marks what it has no type for: its content is again a value, such
as the list that a set is made of. A code never changes its meaning; from 32 on it is an integration's own.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnsupportedValue

__all__ = ["Tag", "Tagging", "UnsupportedValue", "is_taggable"]

READ_ERRORS = (
    *(msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)
"""What bytes that nobody ought to have written may end in."""
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1
_DECLARED = 13
_BROKEN_TEXT = 14


class Tag(NamedTuple):
    """How a type is written: ``dump`` returns what ``load`` takes, of types that can be written."""

    code: int
    kind: type
    dump: Callable[[Any], object]
    load: Callable[[Any], object]
    has_subclasses: bool = False
    """Whether subclasses are written so, too; they come back as ``kind``."""


_FOLDED = ""
"""In place of a zone's name: the second of two times that read alike."""


def _from_datetime(value: datetime) -> list[str]:
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return [value.isoformat(), zone.key]
    return [value.isoformat(), *([_FOLDED] if value.fold else [])]


def _to_datetime(parts: list[str]) -> datetime:
    value = datetime.fromisoformat(parts[0])
    if len(parts) == 1:
        return value
    return value.replace(fold=1) if parts[1] == _FOLDED else value.astimezone(ZoneInfo(parts[1]))


def _from_time(value: time) -> str | list[str]:
    return [value.isoformat(), _FOLDED] if value.fold else value.isoformat()


def _to_time(written: str | list[str]) -> time:
    return (
        time.fromisoformat(written)
        if isinstance(written, str)
        else time.fromisoformat(written[0]).replace(fold=1)
    )


def _pairs(value: dict[object, object]) -> list[list[object]]:
    return [list(pair) for pair in value.items()]


_TAGS = (
    Tag(1, datetime, _from_datetime, _to_datetime),
    Tag(2, date, date.isoformat, date.fromisoformat),
    Tag(3, time, _from_time, _to_time),
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
    Tag(15, bytearray, bytes, bytearray),
)
_TYPES = _SCALARS | {list} | {tag.kind for tag in _TAGS}


def is_taggable(kind: object) -> bool:
    """Whether a type consists of such as are written without being declared."""
    parts = [each for each in get_args(kind) if each is not Ellipsis]
    if get_origin(kind) in {Union, UnionType}:
        return all(map(is_taggable, parts))
    return (get_origin(kind) or kind) in _TYPES and all(map(is_taggable, parts))


def _is_scalar(value: Any) -> bool:
    """Whether MessagePack has a word for it, which a key of a map has to be: an integer of 64 bits."""
    kind = type(value)
    return kind in _SCALARS and (kind is not int or _MIN_INT <= value <= _MAX_INT)


class Tagging:
    """Writes and reads.

    ``types`` are dataclasses, Structs or enums that come back as themselves, ``plainer`` what a type of this
    name comes back as. It ``keeps_broken_texts``, with halves of a character, or refuses them.
    """

    def __init__(
        self,
        types: Iterable[type] = (),
        tags: Iterable[Tag] = (),
        plainer: Mapping[str, type] | None = None,
        *,
        keeps_broken_texts: bool = False,
    ) -> None:
        self._keeps_broken_texts = keeps_broken_texts
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
            try:
                return self._encode(self._plain(value))
            except UnicodeEncodeError as error:
                if not self._keeps_broken_texts:
                    raise UnsupportedValue(f"a text that isn't Unicode can't be cached: {error}") from error
                return self._encode(self._plain(value, is_broken=True))
        except RecursionError as error:
            raise UnsupportedValue("a value that is too deep, or holds itself, can't be cached") from error

    def decode(self, data: bytes) -> object:
        """Return the value. Raises UnreadableRecord."""
        try:
            return self._decode(data)
        except READ_ERRORS as error:
            raise UnreadableRecord(f"a cached value can't be read: {error}") from error

    def _plain(self, value: Any, *, is_broken: bool = False) -> object:  # noqa: PLR0911 - a table of types
        """Return what msgspec has words for; where a text ``is_broken``, none of them as it is."""
        kind = type(value)
        if _is_scalar(value):
            if is_broken and kind is str:
                return msgspec.msgpack.Ext(_BROKEN_TEXT, self._encode(value.encode(errors="surrogatepass")))
            return value
        if kind is list:
            return [self._plain(each, is_broken=is_broken) for each in value]
        if kind is dict and not is_broken and all(map(_is_scalar, value)):
            return {self._plain(key): self._plain(each) for key, each in value.items()}
        if kind in self._names:
            return msgspec.msgpack.Ext(_DECLARED, self._encode([self._names[kind], self._typed(value)]))
        if plainer := self._plainer.get(_name(kind)):
            return self._plain(plainer(value), is_broken=is_broken)
        tag = self._by_kind.get(kind) or self._inherited(value)
        content = self._plain(tag.dump(value), is_broken=is_broken)
        return msgspec.msgpack.Ext(tag.code, self._encode(content))

    def _inherited(self, value: object) -> Tag:
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

    def _load(self, code: int, data: memoryview) -> object:
        content = self._decode(data)
        if code == _DECLARED:
            name, payload = content
            return self._declared[name](payload)
        if code == _BROKEN_TEXT:
            return content.decode(errors="surrogatepass")
        return self._by_code[code].load(content)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _decoder(kind: type) -> Callable[[bytes], object]:
    try:
        return msgspec.msgpack.Decoder(kind).decode
    except TypeError as error:
        raise InvalidFamily(f"values of type {kind!r} can't be declared: {error}") from error
