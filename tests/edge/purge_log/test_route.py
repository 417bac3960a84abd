"""The route of the purge log: who is let in, and what is answered."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from origin_sdk_edge.ports import StoreError
from origin_sdk_edge.purge_log.route import Route
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.signed_requests import (
    LOG_PATH,
    MAX_BODY_BYTES,
    STATE_PATH,
    TELL_PATH,
    VISIBLE_PATH,
    LogKey,
    sign,
)

NOW_MS = 1_795_744_800_000
SHOP = LogKey("shop", "s" * 32, groups=frozenset({"shop-*"}))
SETTINGS = Settings(purge_log_keys={"shop": SHOP})
PURGE = {"id": "20261128T120000-1", "at": NOW_MS, "names": ["group/shop-1"]}


@dataclass
class Log:
    nonces: set[str] = field(default_factory=set)
    is_away: bool = False

    async def told(self, nonce: str, _until_ms: int, body: str) -> str:
        if self.is_away:
            raise StoreError("away")
        known, self.nonces = nonce in self.nonces, self.nonces | {nonce}
        return "" if known else body

    async def visible(self, body: str) -> str:
        return body

    async def state(self) -> str:
        return "{}"


def answered(log: Log, path: str, body: object, nonce: str = "0" * 32) -> tuple[int, str]:
    content = json.dumps(body).encode()
    reports: list[str] = []
    route = Route(log, SETTINGS, lambda: NOW_MS, lambda where, _: reports.append(where))
    reply = asyncio.run(route.answer(path, sign(SHOP, path, content, NOW_MS, nonce), content))
    assert reports == (["log"] if reply.code == 503 else [])
    return reply.code, reply.text


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        pytest.param(TELL_PATH, {"entries": [PURGE]}, 200, id="a purge in the scope"),
        pytest.param(TELL_PATH, {"entries": [PURGE | {"names": ["group/a"]}]}, 403, id="one outside"),
        pytest.param(TELL_PATH, {"entries": 5}, 400, id="no entries"),
        pytest.param(VISIBLE_PATH, {"ids": ["a"]}, 200, id="a question"),
        pytest.param(STATE_PATH, {}, 200, id="how it is"),
        pytest.param(f"{LOG_PATH}other", {}, 404, id="no route"),
    ],
)
def test_a_signed_request_is_answered(path: str, body: object, code: int) -> None:
    assert answered(Log(), path, body)[0] == code


def test_a_nonce_counts_once_and_a_log_that_is_away_costs_no_purge() -> None:
    log = Log()
    assert [answered(log, TELL_PATH, {"entries": [PURGE]})[0] for _ in range(2)] == [200, 409]
    assert answered(Log(is_away=True), TELL_PATH, {"entries": [PURGE]}) == (
        503,
        "The purge log can't be reached; marks hold without it.\n",
    )


@pytest.mark.parametrize(
    ("method", "length", "code"),
    [("GET", "0", 405), ("POST", "", 411), ("POST", str(MAX_BODY_BYTES + 1), 413), ("POST", "5", None)],
)
def test_what_is_not_to_be_read_is_refused(method: str, length: str, code: int | None) -> None:
    reply = Route(Log(), SETTINGS, lambda: NOW_MS, lambda *_: None).refusal(method, length)
    assert (reply.code if reply else None) == code


def test_there_is_no_route_without_keys() -> None:
    assert not Route(Log(), Settings(), lambda: NOW_MS, lambda *_: None).is_for(TELL_PATH)
