"""Stored responses as a Worker leaves them in KV."""

import json

from origin_sdk.testing import FakeKV
from origin_sdk_wire.key import parse_target, record_key, variant_key
from origin_sdk_wire.record import Index, Record, head_of, metadata_for


def store(
    fake: FakeKV,
    url: str,
    *,
    groups: tuple[str, ...] = (),
    fields: tuple[tuple[str, str], ...] = (("cache-control", "max-age=600"),),
    age_seconds: float = 0,
    body_bytes: int = 4,
    body_key: str = "",
    varies: tuple[tuple[str, str], ...] = (),
) -> str:
    """Store a response under a URL, as one variant of it if it ``varies``; return its key."""
    born_ms = round((fake.clock.now() - age_seconds) * 1000)
    record = Record(200, born_ms, born_ms, 0, fields, groups, body_bytes, "", body_key)
    head = head_of(record)
    metadata, is_in_front = metadata_for(head)
    base = record_key(parse_target(url))
    if varies:
        fake.put(base, b"", json.loads(Index((tuple(name for name, _ in varies),)).metadata()))
    key = variant_key(base, list(varies))
    fake.put(key, (head.encode() if is_in_front else b"") + b"body", json.loads(metadata), 7 * 86_400)
    if body_key:
        fake.put(body_key, b"body")
    return key
