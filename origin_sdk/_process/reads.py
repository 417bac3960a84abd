"""What is read from layered caches while something is made of it: a response, a page to publish, a value.

Whoever makes something opens :class:`Reads` with :func:`reading`, and the caches note there what they return.
It is carried as context variables are: into awaited calls, tasks, :func:`asyncio.to_thread` and the thread
pools of the frameworks; not into ``Thread``, ``ThreadPoolExecutor`` or ``run_in_executor``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final, Protocol

from origin_sdk._values.errors import DataClassViolation, NotCacheable
from origin_sdk_wire.bounds import MAX_GROUPS

__all__ = ["MOST_GROUPS", "HasClass", "Reads", "current_reads", "made_to_publish", "open_readings", "reading"]

MOST_GROUPS: Final = 2 * MAX_GROUPS
"""Groups that are noted; twice what a response may have, so that too many are seen to be so."""


class HasClass(Protocol):
    """A family, as far as it matters here."""

    @property
    def name(self) -> str:
        """How it is called."""
        ...

    @property
    def data_class(self) -> Enum:
        """How far its values may go."""
        ...

    @property
    def strictness(self) -> int:
        """The same as a number; 0 is everywhere."""
        ...


class Notes(Protocol):
    """A cache, as far as it matters here."""

    @property
    def passes_groups(self) -> bool:
        """Whether the groups of its values belong to what is made of them."""
        ...

    def groups_in(self, written: bytes) -> tuple[str, ...]:
        """Return groups that are given as they stand in a record."""
        ...

    def refused(self, family: HasClass, what: str) -> None:
        """Audit that ``what`` was made of a family and isn't let out."""
        ...


class Reads:
    """What was read: families that must not reach the edge, and groups."""

    __slots__ = ("_noted", "confined", "is_stale", "shared_as")

    def __init__(self) -> None:
        self.confined: dict[str, tuple[Notes, HasClass]] = {}
        self.is_stale = False
        """Whether one of the values was invalidated softly: what is made of it is as old."""
        self.shared_as = ""
        """What goes to the edge by now: reading what must not raises DataClassViolation."""
        self._noted: dict[tuple[str, ...] | bytes, Notes] = {}

    def add(
        self, cache: Notes, family: HasClass, groups: tuple[str, ...] | bytes, *, is_stale: bool = False
    ) -> None:
        """Note a value; its groups may be as they stand in a record."""
        if is_stale:
            self.is_stale = True
        if family.strictness:
            self.confined[family.name] = (cache, family)
            if self.shared_as:
                raise DataClassViolation(f"{self.shared_as} is cut off: {self.refuse(self.shared_as)}")
        if cache.passes_groups and len(self._noted) < MOST_GROUPS:
            self._noted[groups] = cache

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read."""
        return not (self._noted or self.confined or self.is_stale)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of what was read, each once, not many more than MOST_GROUPS."""
        groups: dict[str, None] = {}
        for written, cache in self._noted.items():
            if len(groups) < MOST_GROUPS:
                groups |= dict.fromkeys(cache.groups_in(written) if isinstance(written, bytes) else written)
        return tuple(groups)

    def above(self, strictness: int) -> list[HasClass]:
        """Return the families that are confined more than what is made of them."""
        return [family for _, family in self.confined.values() if family.strictness > strictness]

    def refuse(self, what: str) -> str:
        """Audit that ``what`` isn't let out, and return why; empty if nothing speaks against it."""
        for cache, family in self.confined.values():
            cache.refused(family, what)
        return "; ".join(
            f"it is made of family {family.name!r}, whose data class is {family.data_class.name}: declare "
            "that DataClass.PUBLIC if anyone may see its values, read it in `with aside():` if nothing of it "
            "is shown, else don't let the response be cached"
            for _, family in self.confined.values()
        )


_reads: ContextVar[Reads | None] = ContextVar("origin_sdk_reads", default=None)
open_readings: Final[list[None]] = []
"""Empty while nothing is open anywhere in the process: asking that costs less than asking the context."""
current_reads: Final = _reads.get
"""Return what is open here, or None."""


@contextmanager
def reading(reads: Reads) -> Iterator[Reads]:
    """Let caches note what they return within the ``with`` block."""
    token = _reads.set(reads)
    open_readings.append(None)
    try:
        yield reads
    finally:
        open_readings.pop()
        _reads.reset(token)


@contextmanager
def made_to_publish(what: str) -> Iterator[Reads]:
    """Render in the ``with`` block what is to be published.

    Raises DataClassViolation at its end if that is made of what must not reach the edge, and NotCacheable if
    it is made of what was invalidated softly.
    """
    with reading(Reads()) as reads:
        yield reads
    if reads.is_stale:
        raise NotCacheable(
            f"{what} isn't published: it is made of values that were invalidated softly, and are being "
            "reloaded behind this call: publish again, or invalidate without soft=True"
        )
    if problem := reads.refuse(what):
        raise DataClassViolation(f"{what} can't be published: {problem}")
