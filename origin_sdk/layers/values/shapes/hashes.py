"""What is kept as a hash: a dict, or an object by its fields."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord, UnstableKey
from origin_sdk.layers.values.equality import fields_of
from origin_sdk.layers.values.shapes.base import Shape, with_changes
from origin_sdk.layers.values.shapes.parts import Names, Packing, Pairs, Values

__all__ = ["Hash"]


class Hash(Shape[Any]):
    """A dict, or an object by its fields."""

    letter = "h"

    def __init__(self, kind: Any, *, may_be_none: bool) -> None:
        super().__init__(kind, may_be_none=may_be_none)
        if get_origin(kind) is dict:
            member, value = get_args(kind)
            self.fields: Mapping[str, Values] | None = None
            self._names, self._any = Names(member, "fields of a hash"), Values(value)
        else:
            self.fields = {name: Values(each) for name, each in _annotated(kind).items()}
            self._names, self._any = Names(str, ""), Values(Any)
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

    def _values_of(self, member: Any) -> Values:
        return self._any if self.fields is None else self.fields[member]

    def member(self, given: object) -> bytes:
        if self.fields is not None and given not in self.fields:
            raise UnstableKey(f"{given!r} isn't a field of {self._class.__name__}: {', '.join(self.fields)}")
        return self._names.encode(given)

    def part(self, member: object, given: object, packing: Packing, preferred: int) -> tuple[bytes, bytes]:
        return self.member(member), self._values_of(member).encode(given, packing, preferred)

    def changed(self, value: Any, put: Mapping[object, object], removed: Iterable[object]) -> object:
        if self._makes_dict:
            return with_changes(value, put, removed)
        fields = with_changes(dict(self._items(value)), put, ())
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
