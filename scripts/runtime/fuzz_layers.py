"""What the layered cache reads of Redis, where others may write: a record, perhaps sealed and compressed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from origin_sdk.layers.errors import UnreadableRecord
from origin_sdk.layers.values.codings import CODINGS, coding_named
from origin_sdk.layers.values.envelope import HEADER, Record, Wrapping
from origin_sdk.layers.values.families import Family
from origin_sdk.layers.values.seals import Encryption, Seal, Signature
from origin_sdk.layers.values.serialization import FORMATS
from scripts.runtime.fuzz_cases import Chance, hold

__all__ = ["TARGETS"]

_FAMILY = Family("fuzzed", "{id}", str, groups=("fuzzed-{id}",))
_KEY, _OTHER = _FAMILY.key(id=1), _FAMILY.key(id=2)
_NEW, _OLD = b"n" * 32, b"o" * 32
_SEALS: Sequence[Seal | None] = (
    None,
    *(kind({"new": _NEW, "old": _OLD}) for kind in (Encryption, Signature)),
)
_MOST_BYTES = 2000
_PIECES = ["a", "\xe9", "\0", "\n", "<p>" * 50, "\U0001f600"]


def records(chance: Chance) -> None:
    """A record comes back as it was written; changed by anyone, it is refused, or nothing vouched for it."""
    wrapping = Wrapping(
        format=chance.one(tuple(FORMATS)),
        compression=chance.one([None, *CODINGS]),
        compress_from=chance.one([0, 100]),
        seal=chance.one(_SEALS),
        max_bytes=_MOST_BYTES,
        scope="app",
    )
    value, birth = chance.text(_PIECES), float(chance.random.randrange(1 << 50))
    record = Record(value, birth, 60.0, 30.0, 0.0, 0.5, ("fuzzed-1",))
    written = wrapping.wrap(_KEY, record)
    hold(written is not None, "a small value stays out", value)
    stored = struct.pack(">d", birth) + (written or b"")
    hold(wrapping.unwrap(_KEY, stored) == record, "a record changes in writing", value)
    for key, forged in ((_KEY, _changed(chance, stored)), (_OTHER, stored)):
        if key is _OTHER or forged != stored:
            try:
                read = wrapping.unwrap(key, forged)
            except UnreadableRecord:
                continue
            hold(wrapping.seal is None, "a seal holds for what was changed", value, forged)
            hold(len(str(read.value)) <= _MOST_BYTES, "a value beyond the bound", len(str(read.value)))


def _changed(chance: Chance, stored: bytes) -> bytes:
    """Return a record that was cut, spliced, flipped or put together by someone else."""
    at = chance.random.randrange(len(stored))
    flipped = bytes((stored[at] ^ (1 << chance.random.randrange(8)),))
    noise = chance.random.randbytes(chance.random.randrange(1, 40))
    return chance.one(
        [
            stored[:at],
            stored[:at] + flipped + stored[at + 1 :],
            stored[:at] + noise + stored[at:],
            stored + noise,
            stored[: HEADER.size] + noise,
            noise,
            b"",
        ]
    )


def expansions(chance: Chance) -> None:
    """What was compressed is expanded whole and to no more than the bound, or refused."""
    coding = coding_named(chance.one(tuple(CODINGS)))
    plain = chance.long_text(_PIECES).encode()
    most = chance.one([0, 1, 100, len(plain), len(plain) + 1, 1 << 20])
    packed = coding.compress(plain)
    is_whole = chance.often(0.5)
    part = bytes((coding.number << 4,)) + (packed if is_whole else _changed(chance, packed))
    try:
        _, expanded = Wrapping(max_bytes=most).unpack_part(part)
    except UnreadableRecord:
        hold(not is_whole or len(plain) > most, "refused though whole and small", len(plain), most)
        return
    hold(len(expanded) <= most, "more than the bound", len(expanded), most)
    hold(not is_whole or expanded == plain, "other bytes come out", len(plain))


TARGETS: Sequence[Callable[[Chance], None]] = (records, expansions)
