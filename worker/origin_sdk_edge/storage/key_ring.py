"""What KV says of the API keys that requests present: remembered for a while, and read where it isn't.

No client decides how often KV is read: a key that it knows is read once in ``API_KEY_LIFETIME``, and of those
that it doesn't know an isolate reads a few a second. What is known of the former never gives way to the
latter.
"""

from dataclasses import dataclass

from origin_sdk_edge.policy.facts import CheckedToken
from origin_sdk_edge.ports import Background, StoreError
from origin_sdk_edge.storage.admission import Allowance
from origin_sdk_edge.storage.memory import Table
from origin_sdk_edge.storage.reading import Reading
from origin_sdk_edge.storage.tiers import Tiers
from origin_sdk_wire.api_keys import ApiKey, found_key, key_digest
from origin_sdk_wire.bounds import MARKS_AHEAD
from origin_sdk_wire.errors import BrokenSeal, UnreadableRecord
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key_entries import kv_key, read_entry

__all__ = ["KeyRing"]

_FRUITLESS, _FRUITLESS_MS = 100, 20_000
"""So many reads that find no key an isolate makes at once, and as many again in this time."""
_RETRY_MS = 5000
"""So long KV isn't asked again for a key that it knew, after it couldn't be read."""

_UNKNOWN = CheckedToken(None, is_checked=True)
_REVOKED = CheckedToken(None, is_checked=True, refusal=Reason.REVOKED)
_UNREAD = CheckedToken(None, is_checked=True, refusal=Reason.KEY_UNREAD)


@dataclass(slots=True)
class _Known:
    key: ApiKey
    read_ms: int
    valid: CheckedToken
    """What it says, as long as it is valid."""
    failed_ms: int = 0
    """When KV couldn't be read for it last."""


class KeyRing:
    """The API keys that an isolate knows, by their digests."""

    def __init__(self, tiers: Tiers) -> None:
        settings = tiers.settings
        self._tiers = tiers
        self._table = settings.api_key_table
        self._secret, self._old_secret = settings.api_key_table_secret, settings.api_key_table_old_secret
        self._places = 2 if self._old_secret else 1
        self._lifetime_ms = int(settings.api_key_lifetime * 1000)
        self._ahead_ms = int(self._lifetime_ms * MARKS_AHEAD)
        self._usable_ms = self._lifetime_ms + int(settings.api_key_stale * 1000)
        self._known: Table[_Known] = tiers.memory.table(1 / 8)
        self._unknown: Table[int] = tiers.memory.table(1 / 64)
        self._fruitless = Allowance(_FRUITLESS, _FRUITLESS_MS)
        self._readings: dict[str, Reading] = {}

    async def verify(self, key: str, background: Background) -> CheckedToken:
        """Return what a key proves: nothing if it isn't known, is over, was revoked, or can't be read."""
        digest, now_ms = key_digest(key, self._secret), self._tiers.timing.now_ms()
        if self._table and (listed := found_key(key, (self._secret, self._old_secret), self._table)):
            return CheckedToken(listed.claims) if listed.is_current(now_ms / 1000) else _UNKNOWN
        known = self._known.get(digest)
        if known is not None and now_ms - known.read_ms < self._lifetime_ms:
            is_due = now_ms - max(known.read_ms, known.failed_ms) >= self._ahead_ms
            if is_due and digest not in self._readings:
                background.run(self._read(digest, key, known))
            return _standing(known, now_ms)
        if known is None and self._is_unknown(digest, now_ms):
            return _UNKNOWN
        since_ms = now_ms
        if known is None or now_ms - known.failed_ms >= _RETRY_MS:
            since_ms = await self._read_once(digest, key, known)
        return self._after_reading(digest, since_ms)

    def _after_reading(self, digest: str, since_ms: int) -> CheckedToken:
        """Return what a key proves by a reading since then, or by an older one while there is none to be had.

        A read that nobody ended says nothing of KV: whose key was revoked could go on by hanging up.
        """
        now_ms, known = self._tiers.timing.now_ms(), self._known.get(digest)
        if known is not None:
            is_down = now_ms - known.failed_ms < _RETRY_MS and now_ms - known.read_ms < self._usable_ms
            if known.read_ms >= since_ms or is_down:
                return _standing(known, now_ms)
        unknown_ms = self._unknown.get(digest)
        return _UNREAD if unknown_ms is None or unknown_ms < since_ms else _UNKNOWN

    def _is_unknown(self, digest: str, now_ms: int) -> bool:
        """Whether KV was read a short while ago, and didn't know the key."""
        read_ms = self._unknown.get(digest)
        return read_ms is not None and now_ms - read_ms <= self._lifetime_ms

    async def _read_once(self, digest: str, key: str, known: _Known | None) -> int:
        """Read what KV says of a key, or wait for who does; what it doesn't know as often as may be.

        Return when that reading began.
        """
        timing, seconds = self._tiers.timing, self._tiers.settings.kv_timeout
        reading, now_ms = self._readings.get(digest), timing.now_ms()
        if reading and now_ms - reading.began_ms <= seconds * 1000:
            await reading.wait(timing, seconds)
            return reading.began_ms
        if known is not None or self._fruitless.takes(self._places, now_ms):
            await self._read(digest, key, known)
        return now_ms

    async def _read(self, digest: str, key: str, known: _Known | None) -> None:
        now_ms = self._tiers.timing.now_ms()
        self._readings[digest] = reading = Reading(now_ms)
        try:
            found = await self._found(digest, key)
        except StoreError as error:
            if known is not None:
                known.failed_ms = self._tiers.timing.now_ms()
            self._tiers.note(error)
        else:
            self._learn(digest, found, now_ms, is_cold=known is None)
        finally:
            if self._readings.get(digest) is reading:
                del self._readings[digest]
            reading.end()

    def _learn(self, digest: str, found: ApiKey | None, read_ms: int, *, is_cold: bool) -> None:
        """Take note of what KV said when it was asked at ``read_ms``, unless it said something since."""
        if found is not None and is_cold:
            self._fruitless.give_back(self._places)
        known = self._known.get(digest)
        if read_ms < max(known.read_ms if known else 0, self._unknown.get(digest) or 0):
            return
        if found is None:
            self._known.drop(digest)
            self._unknown.set(digest, read_ms)
            return
        self._unknown.drop(digest)
        self._known.set(digest, _Known(found, read_ms, CheckedToken(found.claims)))

    async def _found(self, digest: str, key: str) -> ApiKey | None:
        """Return what KV says of a key, by the digest of either secret; raises :class:`StoreError`."""
        found = await self._at(kv_key(digest))
        if found is None and self._old_secret:
            found = await self._at(kv_key(key_digest(key, self._old_secret)))
        return found

    async def _at(self, place: str) -> ApiKey | None:
        value, seals = await self._tiers.store.read(place), self._tiers.seals
        if value is None:
            return None
        try:
            opened = await seals.opened(place, value, is_needed=seals.is_on)
            return read_entry(opened.metadata).api_key
        except BrokenSeal:
            return None  # which was told of
        except ValueError as error:  # whatever lies there: it opens nothing, and closes nobody out
            self._tiers.note(UnreadableRecord(f"{place}: {error}; add the key again, or revoke it"))
            return None


def _standing(known: _Known, now_ms: int) -> CheckedToken:
    if known.key.is_revoked:
        return _REVOKED
    return known.valid if known.key.is_current(now_ms / 1000) else _UNKNOWN
