"""Clients of the purge log: they sign, tell and ask, and write its entries as the SDK does."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from origin_sdk_wire.marks import Lane, Mark, mark_key, value_of, written_keys
from origin_sdk_wire.purge_log.entries import LogEntry, Purged, entry_key
from origin_sdk_wire.purge_log.messages import LogState, parse_state
from origin_sdk_wire.purge_log.metadata import metadata_of, purged
from origin_sdk_wire.signed_requests import STATE_PATH, TELL_PATH, VISIBLE_PATH, LogKey, sign
from scripts.runtime.store import Store
from tests.runtime.edge import HOST

SECRET = "-".join(["of the tests"] * 3)
KEY = LogKey("all", SECRET)
SCOPED = LogKey("shop", SECRET)
KEYS = {
    "all": {"secret": SECRET},
    "shop": {"secret": SECRET, "may": ["purge"], "groups": ["shop-*"]},
}
"""The setting by which both may ask."""


def now_ms() -> int:
    """The time, and a little more: the runtime's clock was seen to be some milliseconds ahead."""
    return round(datetime.now(UTC).timestamp() * 1000) + 50  # noqa: TID251 - the moment of a purge


def post(url: str, path: str, told: object, key: LogKey = KEY, *, nonce: str = "") -> httpx.Response:
    """Send a signed request."""
    body = json.dumps(told).encode()
    fields = sign(key, path, body, now_ms(), nonce or secrets.token_hex(16))
    return httpx.post(url + path, content=body, headers={**fields, "Host": HOST}, trust_env=False)


def tell(url: str, entries: Sequence[LogEntry], key: LogKey = KEY, *, nonce: str = "") -> httpx.Response:
    """Tell the log of entries."""
    told = [{"id": entry.id, **metadata_of(entry)} for entry in entries]
    return post(url, TELL_PATH, {"entries": told}, key, nonce=nonce)


def visible(url: str, *ids: str) -> Mapping[str, Any]:
    """Ask whether entries are seen everywhere."""
    answer: Mapping[str, Any] = post(url, VISIBLE_PATH, {"ids": ids}).raise_for_status().json()
    return answer


def state(url: str) -> LogState:
    """Ask how the log is."""
    return parse_state(post(url, STATE_PATH, {}).raise_for_status().text)


def entries_of(*names: str, hard: bool = True) -> list[Purged]:
    """Make the entries of a purge."""
    return purged(secrets.token_hex(8), now_ms(), names, hard=hard)


def write_entries(store: Store, entries: Sequence[LogEntry]) -> None:
    """Write entries to KV's log."""
    for entry in entries:
        store.put(entry_key(entry), b"", metadata=metadata_of(entry))


def write_marks(store: Store, *names: str, lane: Lane = Lane.HARD) -> None:
    """Write the marks of a purge."""
    for key in written_keys(names, lane):
        store.put(key, value_of(key, Mark(now_ms(), "test")).encode())


def soft_key(name: str) -> str:
    """The key of a mark's soft lane."""
    return mark_key(name, Lane.SOFT)
