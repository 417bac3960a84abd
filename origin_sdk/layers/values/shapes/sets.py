"""What is kept as a set."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, get_args, get_origin

from origin_sdk.layers.values.shapes.base import Shape
from origin_sdk.layers.values.shapes.parts import Names, Packing, Pairs

__all__ = ["MemberSet"]


class MemberSet(Shape[AbstractSet[object]]):
    """A set."""

    letter = "s"

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        self._class: Callable[[Iterable[object]], AbstractSet[object]] = get_origin(kind)
        self._names = Names(get_args(kind)[0], "members of a set")

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
