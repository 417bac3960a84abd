"""An ASGI scope that notes what is looked up in it, also by whoever copies it or walks its raw fields."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from opcode import opmap
from types import FrameType
from typing import Any, Final

from origin_sdk._responses.observed import ADDRESS, EVERYTHING, SESSION, USER, Observed, unobserved

__all__ = ["KEPT_IN_SCOPE", "ObservedFields", "ObservedScope"]

KEPT_IN_SCOPE: Final = {"auth": USER, "client": ADDRESS, "session": SESSION, "user": USER}
"""What servers and middlewares keep in a scope of the client."""

_KNOWN: Final = KEPT_IN_SCOPE.keys() | frozenset(
    # What servers put into a scope of HTTP by ASGI 3.
    {"asgi", "extensions", "headers", "http_version", "method", "path", "query_string"}
    | {"raw_path", "root_path", "scheme", "server", "state", "type"}
)


class _NotingKeys(dict[str, Any]):
    """A dict that notes which of its values are looked up."""

    __slots__ = ("observed",)

    observed: Observed

    def _note(self, key: object) -> None:
        raise NotImplementedError

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, noting that it was looked up."""
        if key in self:
            self._note(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it."""
        self._note(key)
        return super().pop(key, *default)

    def items(self) -> Any:
        """Return everything, noting it."""
        for key in self:
            self._note(key)
        return super().items()

    def values(self) -> Any:
        """Return all values, noting it."""
        for key in self:
            self._note(key)
        return super().values()


class _State(_NotingKeys):
    """What is kept of a request beside its scope, where something outside of the application put it there."""

    __slots__ = ("_left",)

    def __init__(self, state: Mapping[str, Any], left: frozenset[str], observed: Observed) -> None:
        super().__init__(state)
        self._left, self.observed = left, observed

    def _note(self, key: object) -> None:
        if key in self._left:
            self.observed.note(f"state[{key!r}]")


class ObservedScope(_NotingKeys):
    """A scope that notes who looks for what is kept there of the client, and for fields of the request.

    ``lifespan_state`` is what an application itself put into the state of all its requests.
    """

    __slots__ = ()

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        observed: Observed,
        lifespan_state: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(scope)
        self.observed = observed
        with unobserved():  # what is copied may be noting already
            self["headers"] = ObservedFields(scope["headers"], observed)
            if scope.get("client"):
                self["client"] = _observed_address(scope["client"], observed)
            if observed.left_outside is None:
                observed.left_outside = frozenset(scope) - _KNOWN
                self._observe_state(lifespan_state or {})

    def _observe_state(self, known: Mapping[str, Any]) -> None:
        state: Mapping[str, Any] = dict.get(self, "state") or {}
        left = frozenset(key for key, value in state.items() if known.get(key, self) is not value)
        if left:
            self["state"] = _State(state, left, self.observed)

    def _note(self, key: object) -> None:
        if key in KEPT_IN_SCOPE:
            self.observed.note(KEPT_IN_SCOPE[str(key)])
        elif key == "extensions" and "tls" in (dict.get(self, "extensions") or ()):
            self.observed.note(USER)  # a client's certificate
        elif self.observed.left_outside and key in self.observed.left_outside:
            self.observed.note(f"scope[{key!r}]")

    def copy(self) -> "ObservedScope":
        """Return a copy that goes on noting."""
        return ObservedScope(self, self.observed)

    __copy__ = copy

    def __repr__(self) -> str:
        self.observed.note(EVERYTHING)
        return super().__repr__()


class _Address(tuple[Any, ...]):  # noqa: SLOT001 - a tuple can have none that hold something
    """A client's address that notes when it is looked at, since it goes along with a copied scope."""

    _note: Callable[[], None]


class _Noting(bytes):
    """Bytes that note when they are looked at."""

    _note: Callable[[], None]


def _noted(kind: type[Any], name: str) -> Callable[..., Any]:
    method = getattr(kind, name)

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        self._note()
        return method(self, *arguments, **named)

    return noted


_LOOKED_AT: Final = (
    *("__add__", "__contains__", "__eq__", "__ge__", "__getitem__", "__gt__", "__hash__"),
    *("__iter__", "__le__", "__len__", "__lt__", "__ne__", "__repr__"),
)
for _name in _LOOKED_AT:
    setattr(_Address, _name, _noted(tuple, _name))
    setattr(_Noting, _name, _noted(bytes, _name))
_CONVERTED: Final = tuple(
    name for name in dir(bytes) if not name.startswith("_") and name not in {"fromhex", "maketrans"}
)
"""Decoded, split, …"""
for _name in ("__bytes__", "__mod__", "__str__", *_CONVERTED):
    setattr(_Noting, _name, _noted(bytes, _name))


class _Name(_Noting):
    """The name of a request's first or last field: whoever looks for a field compares its name with these.

    Done otherwise (in a dict, decoded, in lower case) it isn't seen for which, and counts as for all.
    """

    _observed: Observed
    _is_found = False
    _is_looked_at = False

    def __eq__(self, other: object) -> bool:
        self._is_looked_at = True
        if isinstance(other, bytes):
            self._observed.note(bytes.decode(other, "latin-1").lower())
        self._is_found = bytes.__eq__(self, other)
        return self._is_found

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _Noting.__hash__


Field = tuple[bytes, bytes]
_frame = sys._getframe  # noqa: SLF001 - the interpreter's documented way
_PLUMBING: Final = ("starlette.datastructures", "origin_sdk.")
"""They look through fields by names that others ask them for."""


class ObservedFields(list[Field]):
    """Fields such that each way through them is noted.

    Its first and last note who looks at them, also in a copy, since each way begins at one of them. A loop
    over the list itself notes all of them where it takes a value without having looked at its name.
    """

    __slots__ = ("observed",)

    def __init__(self, fields: Iterable[Field], observed: Observed) -> None:
        super().__init__(list.__iter__(fields) if isinstance(fields, list) else fields)
        self.observed = observed
        for place in {0, len(self) - 1} if self else ():
            self[place] = _observed_field(*list.__getitem__(self, place), observed)

    def __iter__(self) -> Iterator[Field]:
        return self._walked(super().__iter__(), _frame(1))

    def __reversed__(self) -> Iterator[Field]:
        return self._walked(super().__reversed__(), _frame(1))

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        if _is_plumbing(_frame(1)):
            return found
        if isinstance(found, list):
            return ObservedFields(found, self.observed)
        self.observed.note(EVERYTHING)  # whatever its name is
        return found

    def copy(self) -> "ObservedFields":
        """Return a copy that goes on noting."""
        return ObservedFields(self, self.observed)

    __copy__ = copy

    def _walked(self, fields: Iterator[Field], reader: FrameType) -> Iterator[Field]:
        return fields if _is_plumbing(reader) else self._walk(fields)

    def _walk(self, fields: Iterator[Field]) -> Iterator[Field]:
        name: _Name | None = None
        is_copied = _is_copied(_frame(1))
        try:
            for field in fields:
                self._note_unless_looked_at(name, is_copied=is_copied)
                name, value = _observed_field(*field, self.observed)
                name._is_looked_at = False  # noqa: SLF001 - its own
                yield name, value
        except GeneratorExit:
            is_copied = False
            raise
        finally:
            self._note_unless_looked_at(name, is_copied=is_copied)

    def _note_unless_looked_at(self, name: "_Name | None", *, is_copied: bool) -> None:
        if name is not None and not (is_copied or name._is_looked_at):  # noqa: SLF001 - its own
            self.observed.note(EVERYTHING)


def _is_plumbing(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_PLUMBING)


def _is_copied(frame: FrameType) -> bool:
    """Whether what goes through all fields is one call, such as ``list(fields)``, and not a loop.

    Middleware that adds a field copies the others, and looks at none.
    """
    return frame.f_code.co_code[frame.f_lasti] != opmap["FOR_ITER"]


def _observed_field(name: bytes, value: bytes, observed: Observed) -> tuple["_Name", bytes]:
    if isinstance(name, _Name):
        return name, value

    def note_value() -> None:
        if not known._is_found:  # noqa: SLF001 - its own; all values are taken, whatever their names are
            observed.note(EVERYTHING)

    def note_name() -> None:
        known._is_looked_at = True  # noqa: SLF001 - its own
        observed.note(EVERYTHING)

    known, noting = _Name(name), _Noting(value)
    known._observed, known._note = observed, note_name  # noqa: SLF001 - its own
    noting._note = note_value  # noqa: SLF001 - its own
    return known, noting


def _observed_address(address: Any, observed: Observed) -> _Address:
    noting = _Address(address)
    noting._note = partial(observed.note, ADDRESS)  # noqa: SLF001 - its own
    return noting
