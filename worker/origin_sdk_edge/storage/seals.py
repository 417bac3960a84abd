"""Closes what is written to KV with the application's own keys, and opens what was read there.

:mod:`origin_sdk_wire.seals` says how it is laid out. What can't be opened raises :class:`BrokenSeal`: it
counts as absent.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache, partial

from origin_sdk_edge.ports import Bodies, Body, Ciphers, Counted, Pipe, StoredValue, StoreError, Stream
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.seals import (
    GENERATION_BYTES,
    HEADER_BYTES,
    MAC_BYTES,
    Purpose,
    Seal,
    SealedParts,
    SealNote,
    authenticated,
    bound_to_body,
    bound_to_value,
    derived,
    encrypted_metadata,
    key_named,
    mac_text,
    note_of,
    opened_text,
    parse_parts,
    require_mac,
    sealed_text,
    with_mac,
    without_mac,
)
from origin_sdk_wire.settings import Rule, Settings

__all__ = ["OpenedBody", "Seals"]

_CLIENT_SECONDS = 30.0
"""A client that takes nothing for so long is given up."""


class Seals:
    """The seals of one isolate. Without keys, and so without ``ciphers``, nothing is sealed.

    ``on_broken`` is called with what couldn't be opened.
    """

    def __init__(self, settings: Settings, contents: Bodies, ciphers: Ciphers | None) -> None:
        self.on_broken: Callable[[BrokenSeal], None] = _nobody_minds
        self._settings = settings
        self._keys = settings.store_keys
        self.contents = contents
        self._ciphers = ciphers
        # The same mark is read again every few seconds.
        self._open: Callable[[str, str], str] = lru_cache(_MOST_OPENED)(partial(opened_text, self._keys))

    @property
    def is_on(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def is_needed(self, rule: Rule) -> bool:
        """Whether what a rule looks up has to be sealed."""
        return self._settings.seal_of(rule) is not Seal.NONE

    # Records

    async def closed(self, seal: Seal, key: str, metadata: str, value: Body) -> tuple[str, Body]:
        """Return metadata, which are JSON, and value as they are to lie under ``key``."""
        if seal is Seal.NONE or self._ciphers is None:
            return metadata, value
        own, contents = self._keys[0], self.contents
        if seal is Seal.AUTHENTICATE:
            bound = bound_to_value(own.id, key, json.loads(metadata))
            mac = await self._ciphers.sign(derived(own, Purpose.AUTHENTICATE), bound, value)
            return with_mac(metadata, own.id, mac), value
        size_bytes = len(metadata.encode())
        bound, plain = bound_to_value(own.id, key, size_bytes), contents.prefixed(metadata, value)
        sealed = await self._ciphers.encrypt(derived(own, Purpose.ENCRYPT), plain, bound)
        return encrypted_metadata(own.id, size_bytes), sealed

    async def opened(self, key: str, value: StoredValue, *, is_needed: bool) -> StoredValue:
        """Return what lies under ``key`` as it was before it was closed; raises :class:`BrokenSeal`."""
        try:
            note = note_of(value.metadata)
            if note is not None:
                return await self._opened_by(note, key, value)
        except BrokenSeal as error:
            raise self._told(key, error) from error
        if is_needed:
            raise self._told(key, BrokenSeal(BrokenSeal.UNSEALED, "it isn't sealed, and its rule wants that"))
        return value

    def _told(self, key: str, error: BrokenSeal) -> BrokenSeal:
        """Tell of what can't be opened, and return the error that says where it lies."""
        told = BrokenSeal(error.kind, f"{key}: {error}")
        self.on_broken(told)
        return told

    async def _opened_by(self, note: SealNote, key: str, value: StoredValue) -> StoredValue:
        own, ciphers, contents = key_named(self._keys, note.key_id), self._ciphers, self.contents
        if ciphers is None or not isinstance(value.metadata, Mapping):
            raise BrokenSeal(BrokenSeal.UNKNOWN_KEY, "there are no keys")
        if note.seal is Seal.AUTHENTICATE:
            bound = bound_to_value(own.id, key, value.metadata)
            mac = await ciphers.sign(derived(own, Purpose.AUTHENTICATE), bound, value.body)
            require_mac(mac_text(mac), note.mac)
            return StoredValue(without_mac(value.metadata), value.body)
        bound = bound_to_value(own.id, key, note.size_bytes)
        plain = await self._decrypted(derived(own, Purpose.ENCRYPT), value.body, bound)
        metadata = json.loads(contents.octets(contents.part(plain, 0, note.size_bytes)))
        return StoredValue(metadata, contents.part(plain, note.size_bytes, contents.size(plain)))

    async def _decrypted(self, secret: bytes, sealed: Body, bound: bytes) -> Body:
        if self._ciphers is None:
            raise BrokenSeal(BrokenSeal.UNKNOWN_KEY, "there are no keys")
        try:
            return await self._ciphers.decrypt(secret, sealed, bound)
        except ValueError as error:
            raise BrokenSeal(BrokenSeal.BROKEN, "it was altered, or moved from another key") from error

    # Values of one line

    def closed_text(self, key: str, text: str) -> str:
        """Return a mark's value as it is to lie under ``key``."""
        return sealed_text(self._keys[0], key, text) if self._keys else text

    def closed_metadata(self, key: str, metadata: Mapping[str, object], value: str) -> str:
        """Return metadata beside a value of one line, as JSON that is to lie under ``key``."""
        own = authenticated(self._keys[0], key, metadata, value.encode()) if self._keys else metadata
        return json.dumps(own, separators=(",", ":"))

    def opened_text(self, key: str, value: str) -> str | None:
        """Return a mark's value as it was before it was closed; ``None`` if that isn't known."""
        if not self._keys:
            return value
        try:
            return self._open(key, value)
        except BrokenSeal as error:
            self._told(key, error)
            return None

    # Bodies that lie apart

    async def closed_body(self, seal: Seal, body_key: str, body: Body) -> Body:
        """Return a body in sealed parts."""
        contents, ciphers, own = self.contents, self._ciphers, self._keys[0]
        if ciphers is None:
            return body
        parts = SealedParts(seal, own.id, ciphers.random(GENERATION_BYTES), contents.size(body))
        whole, at = contents.room(parts.sealed_bytes), len(parts.header)
        contents.put(whole, 0, contents.from_octets(parts.header))
        for number in range(parts.count):
            part, bound = contents.part(body, *parts.span(number)), bound_to_body(parts, body_key, number)
            if seal is Seal.ENCRYPT:
                sealed = await ciphers.encrypt(derived(own, Purpose.ENCRYPT), part, bound)
            else:
                mac = await ciphers.sign(derived(own, Purpose.AUTHENTICATE), bound, part)
                sealed = contents.joined((contents.from_octets(mac), part))
            contents.put(whole, at, sealed)
            at += contents.size(sealed)
        return whole

    async def opened_body(self, body_key: str, stream: Stream) -> "OpenedBody":
        """Begin to read a body in sealed parts; raises :class:`BrokenSeal` and :class:`StoreError`."""
        counted = self.contents.counted(stream)
        try:
            begin = self.contents.octets(await counted.next(2))
            rest = min(begin[-1] + GENERATION_BYTES + 8, HEADER_BYTES) if begin else 0
            parts = parse_parts(begin + (self.contents.octets(await counted.next(rest)) if rest else b""))
            secret = derived(key_named(self._keys, parts.key_id), _PURPOSES[parts.seal])
        except BrokenSeal as error:
            counted.cancel()
            raise self._told(body_key, error) from error
        body = OpenedBody(self, body_key, parts, secret, counted)
        await body.begin()
        return body

    async def opened_part(
        self, parts: SealedParts, secret: bytes, body_key: str, number: int, sealed: Body
    ) -> Body:
        """Return what a part holds; raises :class:`BrokenSeal`."""
        try:
            return await self._opened_part(parts, secret, bound_to_body(parts, body_key, number), sealed)
        except BrokenSeal as error:
            raise self._told(body_key, error) from error

    async def _opened_part(self, parts: SealedParts, secret: bytes, bound: bytes, sealed: Body) -> Body:
        contents = self.contents
        if parts.seal is Seal.ENCRYPT:
            return await self._decrypted(secret, sealed, bound)
        size_bytes = contents.size(sealed)
        if self._ciphers is None or size_bytes < MAC_BYTES:
            raise BrokenSeal(BrokenSeal.BROKEN, "it was cut short")
        part = contents.part(sealed, MAC_BYTES, size_bytes)
        given = contents.octets(contents.part(sealed, 0, MAC_BYTES))
        require_mac(await self._ciphers.sign(secret, bound, part), given)
        return part


_PURPOSES = {Seal.ENCRYPT: Purpose.ENCRYPT, Seal.AUTHENTICATE: Purpose.AUTHENTICATE}
_MOST_OPENED = 1024


class OpenedBody:
    """A body in sealed parts while it is read: they are opened one at a time, whatever its size."""

    def __init__(
        self, seals: Seals, body_key: str, parts: SealedParts, secret: bytes, counted: Counted
    ) -> None:
        self.size_bytes = parts.size_bytes
        self._seals = seals
        self._body_key = body_key
        self._parts = parts
        self._secret = secret
        self._counted = counted
        self._contents = seals.contents
        self._first: Body | None = None

    async def begin(self) -> None:
        """Open the first part: the header is right by that, and nothing has been sent yet if it isn't."""
        try:
            self._first = await self._next(0)
        except (BrokenSeal, StoreError):
            self._counted.cancel()
            raise

    async def pieces(self, start: int = 0, end: int | None = None) -> AsyncIterator[Body]:
        """Yield the parts that hold these bytes of the body, each opened."""
        end = self.size_bytes if end is None else end
        wanted = self._parts.covering(start, end)
        for number in range(wanted.stop):
            if number in wanted:
                yield await self._next(number) if number else self._first
            elif number:
                await self._sealed(number)

    async def read(self, start: int = 0, end: int | None = None) -> Body:
        """Return these bytes of the body; raises :class:`BrokenSeal` and :class:`StoreError`."""
        end, contents = self.size_bytes if end is None else end, self._contents
        room, first = contents.room(end - start), self._parts.covering(start, end).start
        at, begin = 0, self._parts.span(first)[0]
        try:
            async for piece in self.pieces(start, end):
                size_bytes = contents.size(piece)
                cut = contents.part(piece, max(start - begin, 0), min(end - begin, size_bytes))
                contents.put(room, at, cut)
                at, begin = at + contents.size(cut), begin + size_bytes
        finally:
            self._counted.cancel()
        return room

    def cancel(self) -> None:
        """Read no more of it."""
        self._counted.cancel()

    async def feed(self, pipe: Pipe) -> None:
        """Give all of it to a client; one that can't be opened to its end breaks off."""
        try:
            async for piece in self.pieces():
                if not await pipe.write(piece, _CLIENT_SECONDS):
                    self._counted.cancel()
                    return
        except (BrokenSeal, StoreError):
            await pipe.abort()
            raise
        await pipe.close()

    async def _next(self, number: int) -> Body:
        sealed = await self._sealed(number)
        return await self._seals.opened_part(self._parts, self._secret, self._body_key, number, sealed)

    async def _sealed(self, number: int) -> Body:
        start, end = self._parts.span(number)
        return await self._counted.next(end - start + self._parts.overhead_bytes)


def _nobody_minds(_: BrokenSeal) -> None:
    """Nobody counts them."""
