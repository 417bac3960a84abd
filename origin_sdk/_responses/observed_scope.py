"""An ASGI scope that notes what is looked up in it, also by whoever copies it or walks its raw fields."""

from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Final

from origin_sdk._responses.observed import ADDRESS, EVERYTHING, SESSION, USER, Observed, unobserved

__all__ = ["KEPT_IN_SCOPE", "ObservedScope"]

KEPT_IN_SCOPE: Final = {"auth": USER, "client": ADDRESS, "session": SESSION, "user": USER}
"""What servers and middlewares keep in a scope of the client."""


class ObservedScope(dict[str, Any]):
    """A scope that notes who looks for what is kept there of the client, and for fields of the request."""

    __slots__ = ("observed",)

    def __init__(self, scope: MutableMapping[str, Any], observed: Observed) -> None:
        super().__init__(scope)
        self.observed = observed
        with unobserved():  # what is copied may be noting already
            self["headers"] = _observed_fields(list(scope["headers"]), observed)
            if scope.get("client"):
                self["client"] = _observed_address(scope["client"], observed)

    def _note(self, key: object) -> None:
        if key in KEPT_IN_SCOPE:
            self.observed.note(KEPT_IN_SCOPE[str(key)])
        elif key == "extensions" and "tls" in (super().get("extensions") or ()):
            self.observed.note(USER)  # a client's certificate

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

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):  # decoded, split, …
            self._note()
        return super().__getattribute__(name)


def _noted(kind: type[Any], name: str) -> Callable[..., Any]:
    method = getattr(kind, name)

    def noted(self: Any, *arguments: Any) -> Any:
        self._note()
        return method(self, *arguments)

    return noted


_LOOKED_AT: Final = (
    *("__add__", "__contains__", "__eq__", "__ge__", "__getitem__", "__gt__", "__hash__"),
    *("__iter__", "__le__", "__len__", "__lt__", "__ne__", "__repr__"),
)
for _name in _LOOKED_AT:
    setattr(_Address, _name, _noted(tuple, _name))
    setattr(_Noting, _name, _noted(bytes, _name))
for _name in ("__bytes__", "__mod__", "__str__"):
    setattr(_Noting, _name, _noted(bytes, _name))


class _Name(_Noting):
    """The name of a request's first or last field: whoever looks for a field compares its name with these.

    Done otherwise (in a dict, decoded, in lower case) it isn't seen for which, and counts as for all.
    """

    _observed: Observed
    _is_found = False

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            self._observed.note(bytes.decode(other, "latin-1").lower())
        self._is_found = bytes.__eq__(self, other)
        return self._is_found

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _Noting.__hash__


Field = tuple[bytes, bytes]


def _observed_fields(fields: list[Field], observed: Observed) -> list[Field]:
    """Return fields such that each way through them, from either end, is noted."""
    for place in {0, len(fields) - 1} if fields else ():
        fields[place] = _observed_field(*fields[place], observed)
    return fields


def _observed_field(name: bytes, value: bytes, observed: Observed) -> Field:
    def note_value() -> None:
        if not known._is_found:  # noqa: SLF001 - its own; all values are taken, whatever their names are
            observed.note(EVERYTHING)

    known, noting = _Name(name), _Noting(value)
    known._observed, known._note = observed, partial(observed.note, EVERYTHING)  # noqa: SLF001 - its own
    noting._note = note_value  # noqa: SLF001 - its own
    return known, noting


def _observed_address(address: Any, observed: Observed) -> _Address:
    noting = _Address(address)
    noting._note = partial(observed.note, ADDRESS)  # noqa: SLF001 - its own
    return noting
