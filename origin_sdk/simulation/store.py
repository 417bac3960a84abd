"""Workers KV as locations see it, and the purge marks in it.

A location goes on with what it last read of a key for as long as it caches that, also if that was
nothing; what it wrote itself it sees at once (``docs/wire-format.md``, and Cloudflare's "How KV works").
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from origin_sdk_wire.marks import SHARED_RENEWAL_MS, Mark, is_shared, parse_mark, value_of

__all__ = ["SimulatedMarks", "SimulatedStore"]

_REMEMBERED_MOMENTS = 4

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Version(Generic[_Value]):
    value: _Value | None
    written_ms: int


@dataclass(slots=True)
class _Seen(Generic[_Value]):
    version: "_Version[_Value] | None"
    until_ms: int


class SimulatedStore(Generic[_Value]):
    """Values by key, for ``locations`` that each cache what they read for ``cached_ms``."""

    def __init__(self, locations: int, cached_ms: int) -> None:
        self._cached_ms = cached_ms
        self._versions: dict[str, _Version[_Value]] = {}
        # One location sees all its own writes at once.
        self._seen: list[dict[str, _Seen[_Value]]] = [{} for _ in range(locations if locations > 1 else 0)]

    def __len__(self) -> int:
        return len(self._versions)

    def read(self, key: str, location: int, now_ms: int) -> _Value | None:
        """Return what a location sees of a key."""
        current = self._versions.get(key)
        if current is not None and current.written_ms > now_ms:
            current = None
        if self._seen:
            seen = self._seen[location].get(key)
            if seen is not None and now_ms < seen.until_ms:
                return seen.version.value if seen.version else None
            self._seen[location][key] = _Seen(current, now_ms + self._cached_ms)
        return current.value if current else None

    def write(self, key: str, value: _Value, location: int, written_ms: int) -> None:
        """Write at a moment, which may lie a little ahead."""
        version = self._versions[key] = _Version(value, written_ms)
        if self._seen:
            self._seen[location][key] = _Seen(version, written_ms + self._cached_ms)

    def forget(self, keys: Iterable[str]) -> None:
        """Follow keys no more."""
        for key in keys:
            self._versions.pop(key, None)
            for seen in self._seen:
                seen.pop(key, None)


class SimulatedMarks:
    """The moments of purges by the keys of their marks, of which the latest counts."""

    def __init__(self, locations: int, cached_ms: int) -> None:
        # On average a location has read a mark half that time ago; the bound is the whole.
        self._delay_ms = cached_ms // 2 if locations > 1 else 0
        self._written: dict[str, list[tuple[int, int]]] = {}

    def write(self, keys: Iterable[str], now_ms: int) -> int:
        """Write marks; return how many that took: the shared one is left out while it lies well ahead."""
        count = 0
        for key in keys:
            written = self._written.setdefault(key, [])
            if is_shared(key) and written and written[-1][1] >= now_ms + SHARED_RENEWAL_MS:
                continue
            count += 1
            written.append((now_ms, parse_mark(value_of(key, Mark(now_ms))).moment_ms))
            del written[:-_REMEMBERED_MOMENTS]
        return count

    def read(self, key: str, read_ms: int) -> int:
        """Return the moment of a mark as far as it is seen at ``read_ms``; 0 for none."""
        written = reversed(self._written.get(key, ()))
        seen = (moment_ms for at_ms, moment_ms in written if at_ms + self._delay_ms <= read_ms)
        return next(seen, 0)
