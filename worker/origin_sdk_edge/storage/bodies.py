"""Bodies of stored responses: those that lie apart from their record, and those that are coded."""

from typing import Any

from origin_sdk_edge.ports import Body, StoreError
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.tiers import Tiers

__all__ = ["StoredBodies"]


class StoredBodies:
    """Bodies, from wherever they lie."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    async def stored(self, entry: Entry) -> Body | None:
        """Return the body as it is stored, from KV if it lies apart; ``None`` if it is gone or cut short."""
        if entry.body is not None or not entry.record.body_key:
            return entry.body
        try:
            value = await self._tiers.store.read(entry.record.body_key)
        except StoreError as error:
            self._tiers.note(error)
            return None
        if value is None or (
            not entry.record.coding and self._tiers.contents.size(value.body) != entry.record.body_bytes
        ):
            return None
        return value.body

    async def stream(self, entry: Entry) -> Any | None:
        """Return a body that lies apart as a stream, so that it needs no memory; ``None`` if it is gone."""
        if not entry.record.body_key:
            return None
        try:
            stream = await self._tiers.store.read_stream(entry.record.body_key)
        except StoreError as error:
            self._tiers.note(error)
            return None
        if stream is None or entry.record.coding:
            return stream
        return self._tiers.contents.measured(stream, entry.record.body_bytes)

    async def decoded(self, entry: Entry) -> Body | None:
        """Return the body without the cache's own coding; ``None`` if it is gone or broken."""
        if entry.decoded is not None or not entry.record.coding:
            return entry.decoded if entry.record.coding else await self.stored(entry)
        body = await self.stored(entry)
        try:
            decoded = (
                None if body is None else await self._tiers.contents.gunzip(body, entry.record.body_bytes)
            )
        except ValueError:
            return None
        if decoded is None or self._tiers.contents.size(decoded) != entry.record.body_bytes:
            return None
        if entry.record.body_bytes <= self._tiers.settings.memory_item_bytes // 4:
            self._remember_decoded(entry, decoded)
        return decoded

    def _remember_decoded(self, entry: Entry, decoded: Body) -> None:
        if entry.decoded is None:
            entry.decoded = decoded
            self._tiers.memory.charge(entry, entry.record.body_bytes)
