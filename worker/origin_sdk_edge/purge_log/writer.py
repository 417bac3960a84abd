"""The Worker's own purges in the purge log: written to KV's, and told at once."""

import json
from collections.abc import Iterator, Sequence
from typing import Protocol

from origin_sdk_edge.ports import Report, StoreError, Timing
from origin_sdk_edge.storage.writes import Writes
from origin_sdk_wire.bounds import CLOCK_TOLERANCE_MS
from origin_sdk_wire.marks import BY_EDGE, Lane
from origin_sdk_wire.purge_log.entries import ENTRY_SECONDS, LogEntry, Purged, entry_key
from origin_sdk_wire.purge_log.metadata import purged, sealed_metadata
from origin_sdk_wire.seals import StoreKey

__all__ = ["LogSink", "Writer"]


class LogSink(Protocol):
    """Where the Worker tells of its purges."""

    async def tell(self, entries: Sequence[LogEntry]) -> None:
        """Tell of entries; raises :class:`StoreError`."""


class Writer:
    """Writes entries, authenticated by the first of ``keys``.

    ``ids`` are unlike those of any other isolate.
    """

    def __init__(
        self,
        sink: LogSink,
        writes: Writes,
        timing: Timing,
        ids: Iterator[str],
        report: Report,
        keys: Sequence[StoreKey] = (),
    ) -> None:
        self._sink = sink
        self._writes = writes
        self._timing = timing
        self._ids = ids
        self._report = report
        self._keys = keys

    async def write(self, names: Sequence[str], lane: Lane, why: str, moment_ms: int | None = None) -> None:
        """Write the entries of a purge of these marks; raises :class:`StoreError` if KV doesn't take them."""
        if moment_ms is None:
            moment_ms = self._timing.now_ms() + CLOCK_TOLERANCE_MS
        hard = lane is Lane.HARD
        is_sealed = bool(self._keys)
        entries = purged(
            next(self._ids), moment_ms, names, hard=hard, by=BY_EDGE, why=why, is_sealed=is_sealed
        )
        await self._timing.together(self._tell(entries), *(self._keep(entry) for entry in entries))

    async def _tell(self, entries: Sequence[Purged]) -> None:
        try:
            await self._sink.tell(entries)
        except StoreError as error:
            self._report("log", error)  # it lists them in KV

    async def _keep(self, entry: Purged) -> None:
        metadata = json.dumps(sealed_metadata(entry, self._keys))
        await self._writes.write(entry_key(entry), "", metadata, ENTRY_SECONDS)
