"""What a loader is given, and what it may say."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from origin_sdk._values.texts import texts
from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.values.families import AnyKey, Key

__all__ = ["AnyContext", "LoadContext", "NotModified", "refuse_one_use"]

Value = TypeVar("Value")


class NotModified:
    """What a loader returns through ``context.not_modified()``."""


_NOT_MODIFIED: Final = NotModified()
_ABSENT: Final = object()


@dataclass(slots=True)
class LoadContext(Generic[Value]):
    """One load: its key, the value that was stored before if there is one, and what becomes of the result."""

    key: Key[Value]
    _previous: object = _ABSENT
    lifetime: float | None = None
    """Set it to choose the lifetime by the value."""
    groups: list[str] = field(default_factory=list)
    """Groups to add to those of the family."""
    is_stored: bool = True

    @property
    def has_previous(self) -> bool:
        """Whether an older value is known, with which the source may be asked conditionally."""
        return self._previous is not _ABSENT

    @property
    def previous(self) -> Value:
        """The older value. Raises LookupError if there is none."""
        if self._previous is _ABSENT:
            raise LookupError(f"{self.key}: nothing was stored before")
        return cast("Value", self._previous)

    def add_groups(self, groups: Iterable[str]) -> None:
        """Let the value belong to more groups."""
        self.groups.extend(texts(groups))

    def do_not_store(self) -> None:
        """Give the value to who waits for it, and forget it."""
        self.is_stored = False

    def not_modified(self) -> Value:
        """Return this from the loader: the previous value is fresh again."""
        if self._previous is _ABSENT:
            raise InvalidFamily(f"{self.key}: nothing was stored before that could be unmodified")
        return cast("Value", _NOT_MODIFIED)

    def result(self, loaded: object) -> object:
        """Return the value that a loader's answer stands for."""
        return self._previous if loaded is _NOT_MODIFIED else loaded


AnyContext: TypeAlias = LoadContext[Any]


def refuse_one_use(key: AnyKey, value: object) -> None:
    """Raise InvalidFamily for a value that only its first caller could use."""
    kind = type(value)
    if not hasattr(kind, "__await__") and not hasattr(kind, "__next__") and not hasattr(kind, "__anext__"):
        return
    if inspect.iscoroutine(value):
        value.close()  # nobody will await it
    remedy = "AsyncLayeredCache is the cache for it" if hasattr(kind, "__await__") else "return a list"
    raise InvalidFamily(f"{key}: a {kind.__name__} can be used once, by the first caller alone: {remedy}")
