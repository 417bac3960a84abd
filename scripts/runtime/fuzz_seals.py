"""What is sealed is opened as it was, and nothing else is: whatever somebody changes, it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from origin_sdk._edge.seals import ClientSeals
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.seals import HEADER_BYTES, Seal, StoreKey, parse_parts
from scripts.runtime.fuzz_cases import Chance, hold

__all__ = ["TARGETS"]

_KEYS = (StoreKey("new", bytes(range(32))), StoreKey("old", bytes(range(32, 64))))
_STRANGER = StoreKey("new", bytes(range(64, 96)))
_PIECES = ["{", "}", '"', ":", ",", "a", "e", "new", "old", " ", "1", "é", "\ud800", "\n", "x" * 43]
_KEY = "r1/https/a.test/x"


def seals(chance: Chance) -> None:
    """A record, or a mark, is opened as it was closed; any change of it, or of its place, is refused."""
    member: Any = chance.one([chance.text(_PIECES), 1, None, [["a"]], {}])
    metadata: dict[str, Any] = {chance.one("hopvx"): member}
    value = chance.long_text(_PIECES).encode("utf-8", "replace")
    seal, own = chance.one([Seal.AUTHENTICATE, Seal.ENCRYPT]), ClientSeals(_KEYS)
    try:
        closed, sealed = ClientSeals([chance.one(_KEYS)]).closed(seal, _KEY, metadata, value)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no JSON in UTF-8
    closed = json.loads(json.dumps(closed))
    hold(own.opened(_KEY, closed, sealed) == (metadata, value), "another record than was sealed", metadata)
    _is_refused(own, _KEY + "y", closed, sealed)
    _is_refused(ClientSeals([_STRANGER]), _KEY, closed, sealed)
    octets = bytearray(sealed + b"x")
    octets[chance.random.randrange(len(octets))] ^= 1 << chance.random.randrange(8)
    _is_refused(own, _KEY, closed, bytes(octets))
    name = chance.one(sorted(closed))
    member = chance.one([chance.text(_PIECES), 1, None, [], "new 1", "old 20", "new " + "A" * 43])
    if member != closed[name]:
        changed = {**closed, name: member}
        if {"a", "e"} & changed.keys():
            _is_refused(own, _KEY, changed, sealed)
    text = chance.text(["1795400000000", " ", "01JD", "new:", "x" * 43], 6)
    hold(own.opened_text(_KEY, text) is None, "a mark that nobody sealed", text)
    hold(own.opened_text(_KEY, own.text(_KEY, text)) == text or "\n" in text, "another mark", text)


def _is_refused(keys: ClientSeals, key: str, metadata: object, value: bytes) -> None:
    try:
        opened = keys.opened(key, metadata, value)
    except BrokenSeal:
        return
    hold(opened == (metadata, value), "what was changed is opened", metadata, value)


def sealed_bodies(chance: Chance) -> None:
    """The beginning of a sealed body is read within bounds, or refused."""
    given = bytes(chance.random.randrange(256) for _ in range(chance.random.randrange(HEADER_BYTES + 2)))
    given = bytes((chance.one([1, 2, 3]), chance.one([0, 1, 3, 32, 33, 255]))) + given
    try:
        parts = parse_parts(given)
    except BrokenSeal:
        return
    hold(given.startswith(parts.header) or not parts.key_id.isascii(), "another header", given)
    first = parts.span(0)
    hold(first[1] - first[0] <= 1 << 18, "a part above its bound", given)


TARGETS: Sequence[Callable[[Chance], None]] = (seals, sealed_bodies)
