"""Bodies of stored responses: those that lie apart from their record, and those that are coded."""

from origin_sdk_edge.ports import Background, Body, Pipe, StoreError, Stream
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.storage.seals import OpenedBody
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.key import is_sealed_body

__all__ = ["StoredBodies"]


class StoredBodies:
    """Bodies, from wherever they lie."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    async def stored(self, entry: Entry) -> Body | None:
        """Return the body as it is stored, from KV if it lies apart; ``None`` if it is gone or cut short."""
        key = entry.record.body_key
        if entry.body is not None or not key:
            return entry.body
        if is_sealed_body(key):
            return await self._read(entry)
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

    async def part(self, entry: Entry, start: int, end: int) -> Body | None:
        """Return some bytes of the body without the cache's own coding; ``None`` if it is gone or broken.

        Of one that lies apart in sealed parts, no others are opened and held.
        """
        if entry.body is None and not entry.record.coding and is_sealed_body(entry.record.body_key):
            return await self._read(entry, start, end)
        body = await self.decoded(entry)
        return None if body is None else self._tiers.contents.part(body, start, end)

    async def _opened(self, entry: Entry) -> OpenedBody | None:
        """Begin to read a sealed body; ``None`` if it is gone, broken, or another than the record's."""
        key = entry.record.body_key
        try:
            stream = await self._tiers.store.read_stream(key)
            opened = None if stream is None else await self._tiers.seals.opened_body(key, stream)
        except StoreError as error:
            self._tiers.note(error)
            return None
        except BrokenSeal:
            return None
        if opened and not entry.record.coding and opened.size_bytes != entry.record.body_bytes:
            opened.cancel()
            return None
        return opened

    async def _read(self, entry: Entry, start: int = 0, end: int | None = None) -> Body | None:
        """Return some bytes of a sealed body, or all; ``None`` if it is gone or broken."""
        opened = await self._opened(entry)
        if opened is None:
            return None
        try:
            return await opened.read(start, end)
        except StoreError as error:
            self._tiers.note(error)
        except BrokenSeal:
            pass
        return None

    async def stream(self, entry: Entry, background: Background) -> Stream | None:
        """Return a body that lies apart as a stream, so that it needs no memory; ``None`` if it is gone."""
        if not entry.record.body_key:
            return None
        if is_sealed_body(entry.record.body_key):
            opened = await self._opened(entry)
            if opened is None:
                return None
            pipe = self._tiers.contents.pipe(opened.size_bytes)
            background.run(self._feed(opened, pipe))
            return pipe.readable
        try:
            stream = await self._tiers.store.read_stream(entry.record.body_key)
        except StoreError as error:
            self._tiers.note(error)
            return None
        if stream is None or entry.record.coding:
            return stream
        return self._tiers.contents.measured(stream, entry.record.body_bytes)

    async def _feed(self, opened: OpenedBody, pipe: Pipe) -> None:
        try:
            await opened.feed(pipe)
        except StoreError as error:
            self._tiers.note(error)
        except BrokenSeal:
            pass  # told of where it was opened; the client sees that its body isn't whole

    async def decoded(self, entry: Entry) -> Body | None:
        """Return the body without the cache's own coding; ``None`` if it is gone or broken."""
        if entry.decoded is not None or not entry.record.coding:
            return entry.decoded if entry.record.coding else await self.stored(entry)
        if entry.record.body_bytes > self._tiers.settings.max_body_bytes:
            return None  # nobody stores as much: a record is not to say how much memory this takes
        body = await self.stored(entry)
        try:
            decoded = (
                None
                if body is None
                else await self._tiers.contents.expanded(body, entry.record.coding, entry.record.body_bytes)
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
