"""API keys in KV: added, revoked and listed.

A key's entry is read before it is written: a list that is imported again writes only what differs, keeps when
each key was added, and brings no revoked one back; nor does one that is imported with another secret, where
this machine has the old one as well.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._cloudflare.kv import ListedKey, Pair, Unwritten
from origin_sdk._edge.marks import moment_of
from origin_sdk._edge.purge import Operation, learn_clock
from origin_sdk._values.api_keys import ApiKeysReceipt, NewApiKey, StoredApiKey, has_claims, require_sent
from origin_sdk._values.arguments import check_type
from origin_sdk._values.errors import CloudflareUnavailable, InvalidRequest, InvalidSettings, OriginSdkError
from origin_sdk._values.texts import Texts, texts
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS
from origin_sdk_wire.errors import BrokenSeal, UnreadableRecord
from origin_sdk_wire.key_entries import KEY_PREFIX, KeyEntry, kv_key, read_entry
from origin_sdk_wire.seals import note_of, without_mac

__all__ = ["Wanted", "add_keys", "read_keys_page", "revoke_keys"]

_BATCH = 2000
"""So many entries go in a request: a list of thousands tells how far it is."""
_ONE_BY_ONE = 20
"""Above so many keys, all there are are listed, a thousand in a request."""
_KEPT_SECONDS = 30 * 86_400
"""So long KV keeps the entry of a key that is over, for who looks what became of it."""
_NOTE_BYTES = 64
_DIGEST_DIGITS, _LEAST_DIGITS = 64, 8


class Wanted:
    """Which keys to revoke: by themselves, by digests or the beginnings of such, or by all of some claims."""

    def __init__(
        self,
        keys: Texts = (),
        digests: Texts = (),
        claims: Mapping[str, str | int] | None = None,
    ) -> None:
        """Raise :class:`InvalidRequest` for what names no key."""
        self.keys, self.digests = texts(keys), texts(digests)
        for given in (*self.keys, *self.digests):
            check_type("one of the keys or digests", given, str, "a text")
        check_type("claims", claims or {}, Mapping, 'a mapping, such as {"tenant": "acme"}')
        self.claims = dict(claims or {})
        if not (self.keys or self.digests or self.claims):
            raise InvalidRequest("say which keys: give keys, digests or claims")
        for key in self.keys:
            require_sent(key)
        for number, digest in enumerate(self.digests, 1):
            is_one = set(digest) <= set("0123456789abcdef") and len(digest) <= _DIGEST_DIGITS
            if not is_one or len(digest) < _LEAST_DIGITS:
                # By its number: it may be the key itself.
                raise InvalidRequest(
                    f"digest {number} isn't a digest, nor the beginning of one with at least "
                    f"{_LEAST_DIGITS} digits (0 to 9, a to f); `origin-sdk keys list` shows them"
                )


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry that lies in KV; ``is_own`` is what the Worker counts, sealed by the key that writes now.

    Of what isn't authentic nothing is known but that it says that its key was revoked: the key of the store
    that sealed it may have been taken out since.
    """

    entry: KeyEntry
    is_own: bool


async def add_keys(
    operation: Operation, keys: Sequence[NewApiKey], lifetime_seconds: float, reason: str
) -> ApiKeysReceipt:
    """Write the entries of keys; raises :class:`InvalidRequest` for one that is given twice and differs."""
    given: dict[str, NewApiKey] = {}
    for number, key in enumerate(keys, 1):
        digest = key.digest_by(_secret(operation) if key.key else "")
        if _told(given.setdefault(digest, key).entry(0, "", "")) != _told(key.entry(0, "", "")):
            raise InvalidRequest(f"key {number} was given before, with other claims or times; remove one")
    await learn_clock(operation)
    former = {digest: found for digest, key in given.items() if (found := _former(operation, key.key))}
    there = await _entries_at(operation, {*given, *former.values()})
    now_ms = _now_ms(operation)
    entries: dict[str, KeyEntry] = {}
    left_revoked: list[str] = []
    for digest, key in given.items():
        own, known = there.get(digest), _before(there.get(digest), there.get(former.get(digest, "")))
        at_ms = known.at_ms if known else now_ms
        entry = key.entry(at_ms, _note(operation.settings.actor), _note(reason))
        if known and known.revoked_ms is not None:
            left_revoked.append(digest)
            entry = known
        if own is None or not own.is_own or own.entry is not known or _told(known) != _told(entry):
            entries[digest] = entry
    await _write(operation, entries, now_ms)
    written = [digest for digest, entry in entries.items() if entry.revoked_ms is None]
    receipt = ApiKeysReceipt(
        added=tuple(digest for digest in written if digest not in there),
        changed=tuple(digest for digest in written if digest in there),
        unchanged=len(given) - len(written) - len(left_revoked),
        left_revoked=tuple(left_revoked),
    )
    return _completed(operation, receipt, lifetime_seconds)


def _before(own: _Known | None, former: _Known | None) -> KeyEntry | None:
    """Return what was known of a key, by either digest of it: that it was revoked, if one says so."""
    found = [known.entry for known in (own, former) if known]
    return next((entry for entry in found if entry.revoked_ms is not None), found[0] if found else None)


async def revoke_keys(
    operation: Operation, wanted: Wanted, lifetime_seconds: float, reason: str
) -> ApiKeysReceipt:
    """Write into the entries of keys that they are revoked.

    A key, or a whole digest, that isn't there is revoked as well: it may have been added a moment ago.
    """
    await learn_clock(operation)
    whole = {key_digest(key, _secret(operation)) for key in wanted.keys}
    whole.update(digest for digest in wanted.digests if len(digest) == _DIGEST_DIGITS)
    found: dict[str, _Known | None] = dict.fromkeys(sorted(whole))
    former = [_former(operation, key) for key in wanted.keys]
    found.update(await _entries_at(operation, whole.union(filter(None, former))))
    for beginning in wanted.digests:
        if beginning not in whole:
            found.update(await _only_one(operation, beginning))
    if wanted.claims:
        found.update(await _having(operation, wanted))
    now_ms, by, why = _now_ms(operation), _note(operation.settings.actor), _note(reason)
    entries = {
        digest: replace(known.entry if known else KeyEntry({}, now_ms), revoked_ms=now_ms, by=by, why=why)
        for digest, known in found.items()
        if known is None or not known.is_own or known.entry.revoked_ms is None
    }
    await _write(operation, entries, now_ms)
    receipt = ApiKeysReceipt(revoked=tuple(entries), unchanged=len(found) - len(entries))
    return _completed(operation, receipt, lifetime_seconds)


async def read_keys_page(operation: Operation, cursor: str) -> tuple[list[StoredApiKey], str]:
    """Return one page of the keys and the cursor of the next, or ``""``."""
    listed, cursor = await operation.namespace.page(operation.exchange, KEY_PREFIX, cursor)
    return [_stored(operation, key) for key in listed], cursor


def _stored(operation: Operation, listed: ListedKey) -> StoredApiKey:
    digest, entry = listed.name.removeprefix(KEY_PREFIX), _entry(operation, listed)
    if entry is None:
        return StoredApiKey(digest, {}, is_forged=True)
    begins, ends, revoked = (
        None if ms is None else moment_of(ms) for ms in (entry.begins_ms, entry.ends_ms, entry.revoked_ms)
    )
    return StoredApiKey(
        digest, entry.claims, moment_of(entry.at_ms), begins, ends, revoked, entry.by, entry.why
    )


def _entry(operation: Operation, listed: ListedKey) -> KeyEntry | None:
    """Return what is listed of a key; ``None`` if the Worker wouldn't count it, as far as can be told."""
    metadata = operation.seals.opened_metadata(listed.name, listed.metadata)
    try:
        return read_entry(without_mac(metadata) if isinstance(metadata, Mapping) else metadata)
    except UnreadableRecord:
        return None


async def _entries_at(operation: Operation, digests: Collection[str]) -> dict[str, _Known]:
    """Return the entries of these digests that are there."""
    found: dict[str, _Known] = {}
    if len(digests) <= _ONE_BY_ONE:
        for digest in digests:
            listed, _ = await operation.namespace.page(operation.exchange, kv_key(digest), "", 10)
            found.update(_known_of(operation, listed))
        return found
    async for known in _known_pages(operation):
        found.update((digest, known[digest]) for digest in known.keys() & digests)
    return found


async def _known_pages(operation: Operation) -> AsyncIterator[Mapping[str, _Known]]:
    """Yield all that is known of keys by their digests, a page at a time."""
    cursor: str | None = None
    while cursor != "":
        listed, cursor = await operation.namespace.page(operation.exchange, KEY_PREFIX, cursor or "")
        yield _known_of(operation, listed)


async def _only_one(operation: Operation, beginning: str) -> dict[str, _Known | None]:
    listed, _ = await operation.namespace.page(operation.exchange, kv_key(beginning), "", 10)
    if len(listed) != 1:
        count = "no key's" if not listed else "more than one key's"
        raise InvalidRequest(
            f"{beginning}: {count} digest begins so; give more digits, or all 64 of a key that was added "
            "within the last minute"
        )
    return {listed[0].name.removeprefix(KEY_PREFIX): None, **_known_of(operation, listed)}


async def _having(operation: Operation, wanted: Wanted) -> dict[str, _Known]:
    found: dict[str, _Known] = {}
    async for known in _known_pages(operation):
        found.update(
            (digest, each) for digest, each in known.items() if has_claims(each.entry.claims, wanted.claims)
        )
    if not found:
        named = ", ".join(f"{name} = {value!r}" for name, value in wanted.claims.items())
        raise InvalidRequest(f"no key has {named}; `origin-sdk keys list` shows what keys have")
    return found


def _known_of(operation: Operation, listed: Iterable[ListedKey]) -> dict[str, _Known]:
    """Return what is known of keys; raises :class:`InvalidSettings` where this machine lacks the keys."""
    found: dict[str, _Known] = {}
    for key in listed:
        _require_keys(operation, key)
        if known := _known(operation, key):
            found[key.name.removeprefix(KEY_PREFIX)] = known
    return found


def _known(operation: Operation, listed: ListedKey) -> _Known | None:
    if entry := _entry(operation, listed):
        keys = operation.seals.keys
        note = note_of(listed.metadata) if keys else None
        return _Known(entry, is_own=not keys or (note is not None and note.key_id == keys[0].id))
    try:
        said = read_entry(without_mac(listed.metadata) if isinstance(listed.metadata, Mapping) else None)
    except UnreadableRecord:
        return None
    if said.revoked_ms is None:
        return None
    return _Known(KeyEntry({}, said.at_ms, revoked_ms=said.revoked_ms), is_own=False)


def _require_keys(operation: Operation, listed: ListedKey) -> None:
    if operation.seals.keys:
        return
    try:
        note = note_of(listed.metadata)
    except BrokenSeal:
        return
    if note:
        raise InvalidSettings(
            f"the keys in KV are sealed by {note.key_id!r}: set EDGE_CACHE_STORE_KEYS to the Worker's "
            "STORE_KEYS, without which it counts nothing that is written here"
        )


async def _write(operation: Operation, entries: Mapping[str, KeyEntry], now_ms: int) -> None:
    """Write entries; raises :class:`CloudflareUnavailable` if only some of them are written."""
    digests, done = list(entries), 0
    pairs = partial(_pairs, operation, entries, now_ms)
    for begin in range(0, len(digests), _BATCH):
        batch = digests[begin : begin + _BATCH]
        try:
            await operation.namespace.write(operation.exchange, list(map(kv_key, batch)), pairs)
        except OriginSdkError as error:
            left = len(error.keys) if isinstance(error, Unwritten) else len(batch)
            if not (done or left < len(batch)):
                raise
            raise CloudflareUnavailable(
                f"{done + len(batch) - left} of {len(digests)} keys are written, and not the rest "
                f"({error.__cause__ or error}); do the same again: what is written stays as it is"
            ) from error
        done += len(batch)
        if len(digests) > _BATCH:
            await Progress(done, len(digests))


def _pairs(
    operation: Operation, entries: Mapping[str, KeyEntry], now_ms: int, keys: Sequence[str]
) -> list[Pair]:
    return [
        Pair(key, "", _kept_seconds(entry, now_ms), operation.seals.metadata(key, entry.metadata()))
        for key in keys
        for entry in [entries[key.removeprefix(KEY_PREFIX)]]
    ]


def _kept_seconds(entry: KeyEntry, now_ms: int) -> int | None:
    if entry.ends_ms is None:
        return None
    return max(0, (entry.ends_ms - now_ms) // 1000) + _KEPT_SECONDS


def _told(entry: KeyEntry) -> tuple[object, ...]:
    """Return what an entry says of its key, beside when and by whom; 1 and true are not the same."""
    claims = sorted((name, type(value).__name__, value) for name, value in entry.claims.items())
    return claims, entry.begins_ms, entry.ends_ms


def _completed(operation: Operation, receipt: ApiKeysReceipt, lifetime_seconds: float) -> ApiKeysReceipt:
    now = datetime.fromtimestamp(operation.cloudflare_now(), UTC)
    visible_by = now + timedelta(seconds=lifetime_seconds + KV_PROPAGATION_SECONDS)
    return replace(receipt, requests=operation.exchange.requests, visible_by=visible_by)


def _secret(operation: Operation) -> str:
    secret = operation.settings.api_key_table_secret
    if not secret:
        raise InvalidSettings(
            "no digest of a key can be made: set EDGE_CACHE_API_KEY_TABLE_SECRET to the Worker's "
            "API_KEY_TABLE_SECRET"
        )
    return secret


def _former(operation: Operation, key: str) -> str | None:
    """Return the digest of a key by the old secret, if there are both."""
    old = operation.settings.api_key_table_old_secret
    return key_digest(key, old) if key and old else None


def _now_ms(operation: Operation) -> int:
    return round(operation.cloudflare_now() * 1000)


def _note(text: str) -> str:
    """Return what fits beside the claims of any key, however it is escaped."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:_NOTE_BYTES].decode("utf-8", "ignore")
