"""A Worker's purge log for the SDK's tests: it reads requests by the contract's own functions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from origin_sdk._process.clock import Clock
from origin_sdk_wire.errors import RefusedRequest
from origin_sdk_wire.purge_log.entries import LogEntry, Switch
from origin_sdk_wire.purge_log.messages import LogState, Visibility, parse_question, parse_told
from origin_sdk_wire.signed_requests import (
    STATE_PATH,
    TELL_PATH,
    VISIBLE_PATH,
    LogKey,
    out_of_scope,
    parse_keys,
    verify,
)

SECRET = "s" * 32
URL = "https://api.example.com"


def key(**scope: object) -> str:
    """Return a key as settings have it."""
    return json.dumps({"shop": {"secret": SECRET, **scope}})


@dataclass
class FakeLog:
    """``transport`` goes into a client as what it reaches the edge by."""

    clock: Clock
    keys: Mapping[str, LogKey] = field(default_factory=lambda: parse_keys(key()))
    learns: bool = True
    behind: list[tuple[str, ...]] = field(default_factory=list)
    """Which locations are behind, by the question's turn."""
    failures: list[int | None] = field(default_factory=list)
    """The statuses of the next answers; ``None`` for none."""
    entries: dict[str, LogEntry] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failures and (status := self.failures.pop(0)) != 200:
            if status is None:
                raise httpx.ReadTimeout("no answer", request=request)
            return httpx.Response(status, text="the log is away")
        now_ms = round(self.clock.now() * 1000)
        body = request.read()
        try:
            signer, nonce = verify(self.keys, request.url.path, request.headers, body, now_ms)
        except RefusedRequest as refused:
            return httpx.Response(401, text=str(refused))
        assert nonce not in self.nonces
        self.nonces.add(nonce)
        if request.url.path == TELL_PATH:
            return self._told(signer, parse_told(body))
        if request.url.path == STATE_PATH:
            return httpx.Response(200, text=str(self._state(now_ms)))
        assert request.url.path == VISIBLE_PATH
        unknown = [each for each in parse_question(body) if each not in self.entries]
        behind = self.behind.pop(0) if self.behind else ()
        return httpx.Response(200, text=str(Visibility(tuple(unknown), behind, readers=3)))

    def _state(self, now_ms: int) -> LogState:
        latest = {entry.place: entry for entry in self.entries.values() if isinstance(entry, Switch)}
        return LogState(
            log="5d0c",
            next=len(self.entries),
            covers_from_ms=now_ms - 3_600_000,
            known_ms=now_ms,
            entries=len(self.entries),
            readers={"FRA": 120, "NRT": 1800},
            switches=tuple(each for each in latest.values() if each.is_on(now_ms)),
        )

    def _told(self, signer: LogKey, entries: list[LogEntry]) -> httpx.Response:
        if problems := list(out_of_scope(signer, entries)):
            return httpx.Response(403, json={"error": problems[0]})
        if self.learns:
            self.entries |= {entry.id: entry for entry in entries}
        return httpx.Response(200, json={"next": len(self.entries)})
