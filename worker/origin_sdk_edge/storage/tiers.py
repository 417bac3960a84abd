"""What all rooms of storage share: KV, the isolate's memory, the clock, and how a fault of KV is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from origin_sdk_edge.ports import Bodies, Report, Store, Timing
from origin_sdk_edge.storage.memory import Entry, Memory
from origin_sdk_edge.storage.seals import Seals
from origin_sdk_wire.record import Index
from origin_sdk_wire.settings import Settings

__all__ = ["OnWrite", "Tiers"]

_QUIET_MS = 1000
"""A fault of KV is reported once in this time: it mostly concerns every request."""


OnWrite: TypeAlias = Callable[[int, str, str, Mapping[str, object]], None]


def _nobody_audits(_now_ms: int, _action: str, _key: str, _details: Mapping[str, object]) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Tiers:
    """Memory and KV."""

    store: Store
    contents: Bodies
    timing: Timing
    settings: Settings
    memory: Memory
    report: Report
    seals: Seals
    on_write: OnWrite = _nobody_audits
    """Called with what :meth:`wrote` takes, and when that was, in milliseconds since the epoch."""
    unwritten: dict[str, Entry] = field(default_factory=dict)
    """What memory has no room for, until it is in KV."""
    _quiet_until_ms: int = 0

    def at_hand(self, key: str) -> Entry | Index | None:
        """Return what is found under ``key`` without KV."""
        return self.memory.get(key) or self.unwritten.get(key)

    def fits_memory(self, entry: Entry) -> bool:
        """Whether an entry may be held in memory."""
        return (
            entry.body is not None
            and entry.size_bytes <= self.settings.memory_item_bytes
            and entry.cost_bytes <= self.memory.max_bytes
        )

    def wrote(self, action: str, key: str, details: Mapping[str, object]) -> None:
        """Tell of what was done to KV: `store`, `end` or `purge`, and what else there is to say of it."""
        self.on_write(self.timing.now_ms(), action, key, details)

    def note(self, error: Exception, where: str = "store") -> None:
        """Report a fault of the store."""
        now_ms = self.timing.now_ms()
        if now_ms >= self._quiet_until_ms:
            self._quiet_until_ms = now_ms + _QUIET_MS
            self.report(where, error)
