"""Spans of a trace, for whoever wants them: :mod:`origin_sdk.tracing` opens them. Else they cost nothing."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, Self, TypeAlias

__all__ = ["Attribute", "Open", "Span", "are_wanted", "open_with", "span"]

Attribute: TypeAlias = str | int | float | bool


class Span(Protocol):
    """Something that is being done."""

    def note(self, name: str, value: Attribute) -> None:
        """Say more about it."""

    def fail(self, why: str) -> None:
        """Say that it failed, although nothing is raised."""


Open: TypeAlias = Callable[[str, Mapping[str, Attribute]], AbstractContextManager[Span]]


class _Nothing:
    """A span that nobody wants."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    def note(self, name: str, value: Attribute) -> None:
        """Forget it."""

    def fail(self, why: str) -> None:
        """Forget it."""


_NOTHING = _Nothing()
_open: Open | None = None


def open_with(opener: Open | None) -> None:
    """Have spans opened by ``opener`` from now on, in this process; ``None``: not at all."""
    global _open  # noqa: PLW0603 - a switch of the process
    _open = opener


def are_wanted() -> bool:
    """Whether anybody wants spans: where even a context manager would cost too much."""
    return _open is not None


def span(name: str, **attributes: Attribute) -> AbstractContextManager[Span]:
    """Open a span that lasts as long as the ``with`` block; an exception that leaves it is noted.

    Attributes are named with ``_`` for ``.``. None may hold what is personal: no keys, no URLs, no values.
    """
    if _open is None:
        return _NOTHING
    return _open(name, {key.replace("_", "."): value for key, value in attributes.items()})
