"""A kind of structure: what of a whole value is a member and what its value."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeGuard, TypeVar

from origin_sdk.layers.errors import UnreadableRecord, UnstableKey, UnsupportedValue
from origin_sdk.layers.values.equality import is_same
from origin_sdk.layers.values.shapes.parts import Packing, Pairs, packed, unpacked

__all__ = ["AnyShape", "Shape", "with_changes"]

_Whole = TypeVar("_Whole")
"""What holds all of a structure."""
_NONE: Final = b"n"


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


def with_changes(
    value: Mapping[object, object], put: Mapping[object, object], removed: Iterable[object]
) -> dict[Any, object]:
    found = {**value, **put}
    for each in removed:
        found.pop(each, None)
    return found
