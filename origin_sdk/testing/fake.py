"""Cloudflare's KV REST API in process: its limits, its refusals, and its bad days on demand.

It passes the same contract tests as the API that ``wrangler dev`` serves, and shows what that one can't:
propagation between locations, the rate limit with its block, partial failures, latency, authentication.
"""

import base64
import json
import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from threading import RLock
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from origin_sdk._cloudflare.kv import MAX_BATCH_BYTES, MAX_BATCH_PAIRS, MAX_READ_KEYS, PAGE_KEYS
from origin_sdk._development.loopback import serving
from origin_sdk._process.clock import Clock
from origin_sdk._process.forks import renew_after_fork
from origin_sdk._values.settings import Settings
from origin_sdk.testing.clock import ManualClock
from origin_sdk.testing.fake_answers import (
    Answer,
    RefusalError,
    accepted,
    check_pair,
    decoded_list,
    refused,
)
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS
from origin_sdk_wire.marks import MARK_PREFIX, Mark, parse_mark

__all__ = ["FakeKV", "FakeRequest"]

_MIN_PAGE_KEYS = 10
_HERE = ""


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """A request that the API got."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Version:
    """What a key held from ``written_at`` on; ``value`` is ``None`` once it was deleted."""

    written_at: float
    value: bytes | None
    metadata: object = None
    expires_at: float | None = None


@dataclass(eq=False)
class FakeKV:
    """One KV namespace behind its REST API. ``transport`` goes into a client; ``serve`` opens a port.

    What is below ``requests`` decides how well it works; change it at any time.
    """

    clock: Clock = field(default_factory=ManualClock)
    namespace_id: str = "namespace"
    account_id: str = "account"
    token: str = "token-for-tests"  # noqa: S105 - it opens nothing
    requests: list[FakeRequest] = field(default_factory=list)

    propagation_seconds: float = KV_PROPAGATION_SECONDS
    """How long other locations go on seeing what was there before."""
    latency_seconds: float = 0.0
    """The clock moves so far with each request, if it is a :class:`ManualClock`."""
    skew_seconds: float = 0.0
    """How far Cloudflare's clock is ahead of ``clock``."""
    rate_limit: int = 1200
    """Requests in five minutes; one more, and all are refused for five minutes."""
    may_write: bool = True

    _versions: dict[str, list[_Version]] = field(default_factory=dict, repr=False)
    _sorted: list[str] | None = field(default=None, repr=False)
    _unwritable: Counter[str] = field(default_factory=Counter, repr=False)
    _refused: dict[str, int] = field(default_factory=dict, repr=False)
    _failures: deque[int] = field(default_factory=deque, repr=False)
    _times: deque[float] = field(default_factory=deque, repr=False)
    _blocked_until: float = field(default=0.0, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)

    def __post_init__(self) -> None:
        """Let a forked process have a lock of its own."""
        renew_after_fork(self)

    def renew(self) -> None:
        """Free the lock in a forked process: the thread that held it isn't there."""
        self._lock = RLock()

    # For tests: settings and faults

    @property
    def settings(self) -> Settings:
        """Settings that reach this API over ``transport`` as if it were Cloudflare's own."""
        return Settings(token=self.token, account_id=self.account_id, namespace_id=self.namespace_id)

    @property
    def transport(self) -> httpx.MockTransport:
        """What carries requests here, for synchronous and asynchronous clients."""
        return httpx.MockTransport(self._respond)

    def block(self, seconds: float = 300.0) -> None:
        """Answer 429 with ``Retry-After`` from now on, for ``seconds``."""
        self._blocked_until = self.clock.monotonic() + seconds

    def fail_next(self, times: int = 1, status: int = 503) -> None:
        """Answer the next requests with ``status``, or with nothing if it is 0."""
        self._failures.extend([status] * times)

    def leave_unsuccessful(self, *keys: str, times: int = 1) -> None:
        """Leave keys unwritten.

        The next ``times`` bulk requests that name them report them as unsuccessful.
        """
        for key in keys:
            self._unwritable[key] += times

    def refuse(self, *keys: str, status: int = 400) -> None:
        """Refuse bulk requests that name one of these keys: 403 as a firewall would, else as the API."""
        self._refused |= dict.fromkeys(keys, status)

    # For tests: what is stored

    def read(self, key: str, location: str = _HERE) -> bytes | None:
        """Return what a key holds, as seen at a location.

        ``""`` is where the API writes, any other is far away.
        """
        version = self._seen(key, location)
        return version.value if version else None

    def metadata(self, key: str) -> object:
        """Return a key's metadata."""
        version = self._seen(key, _HERE)
        return version.metadata if version else None

    def put(
        self, key: str, value: bytes | str, metadata: object = None, seconds: float | None = None
    ) -> None:
        """Write a key, as a Worker would."""
        value = value.encode() if isinstance(value, str) else value
        with self._lock:
            now = self.clock.now()
            versions = self._versions.setdefault(key, [])
            versions.append(_Version(now, value, metadata, None if seconds is None else now + seconds))
            self._sorted = None

    def stored_keys(self, prefix: str = "") -> list[str]:
        """Return the keys that are there, sorted."""
        return [key for key in self._in_order() if key.startswith(prefix) and self.read(key) is not None]

    def marks_in_force(self) -> dict[str, Mark]:
        """Return the purge marks, for :func:`origin_sdk.testing.assert_purged`."""
        return {key: parse_mark((self.read(key) or b"").decode()) for key in self.stored_keys(MARK_PREFIX)}

    # For tests: over a port

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve the API on 127.0.0.1 and yield the base URL for ``CLOUDFLARE_API_BASE_URL``."""
        with serving(_handler(self)) as url:
            yield url

    # The API

    def answer(self, request: FakeRequest) -> tuple[int, dict[str, str], bytes]:
        """Answer one request: status, fields, body."""
        with self._lock:
            if isinstance(self.clock, ManualClock):
                self.clock.advance(self.latency_seconds)
            self.requests.append(request)
            fields = {"content-type": "application/json", **self._date()}
            if wait := self._blocked_for():
                return 429, {**fields, "retry-after": str(round(wait))}, refused(10429, "rate limited")
            if self._failures and (status := self._failures.popleft()):
                return status, fields, b"upstream error"
            try:
                status, body = self._routed(request)
            except RefusalError as refusal:
                status, body = refusal.status, refused(refusal.code, refusal.message)
                if status == 403 and refusal.code == 10001:
                    body = b"<html>Sorry, you have been blocked</html>"
            left = self.rate_limit - len(self._times)
            return status, {**fields, "ratelimit": f'"default";r={left};t=300'}, body

    def _respond(self, request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        asked = FakeRequest(
            request.method,
            request.url.raw_path.decode().partition("?")[0],
            query,
            request.read(),
            request.headers,
        )
        if self._failures and self._failures[0] == 0:
            self._failures.popleft()
            self.requests.append(asked)
            raise httpx.ConnectError("connection refused by the fake", request=request)
        status, fields, body = self.answer(asked)
        return httpx.Response(status, headers=fields, content=body)

    def _date(self) -> dict[str, str]:
        moment = datetime.fromtimestamp(int(self.clock.now() + self.skew_seconds), UTC)
        return {"date": format_datetime(moment, usegmt=True)}

    def _blocked_for(self) -> float:
        now = self.clock.monotonic()
        while self._times and self._times[0] <= now - 300:
            self._times.popleft()
        if now >= self._blocked_until:
            self._times.append(now)
            if len(self._times) > self.rate_limit:
                self._blocked_until = now + 300
        return max(0.0, self._blocked_until - now)

    def _routed(self, request: FakeRequest) -> Answer:
        if request.path.endswith("/tokens/verify"):
            self._authenticate(request)
            return accepted({"id": "1", "status": "active"})
        if request.path.endswith("/storage/kv/namespaces"):
            return accepted([{"id": self.namespace_id, "title": "CACHE"}])
        found = _PATH.search(request.path)
        if not found:
            raise RefusalError(404, 7003, "no such route")
        if found["account"] is not None:
            self._authenticate(request)
        if unquote(found["namespace"]) != self.namespace_id:
            raise RefusalError(404, 10013, "namespace not found")
        route = _ROUTES.get((request.method, found["route"]))
        if route is None:
            raise RefusalError(405, 10405, "method not allowed")
        return route(self, request, unquote(found["rest"] or ""))

    def _authenticate(self, request: FakeRequest) -> None:
        if request.fields.get("authorization") != f"Bearer {self.token}":
            raise RefusalError(401, 10000, "Authentication error")

    def _bulk_write(self, request: FakeRequest, _: str) -> Answer:
        pairs = decoded_list(request.body)
        self._check_write(len(pairs), len(request.body))
        for number, pair in enumerate(pairs):
            check_pair(number, pair)
        failed = self._unsuccessful([pair["key"] for pair in pairs])
        for pair in pairs:
            if pair["key"] not in failed:
                value = base64.b64decode(pair["value"]) if pair.get("base64") else pair["value"]
                self.put(pair["key"], value, pair.get("metadata"), pair.get("expiration_ttl"))
        return accepted(
            {"successful_key_count": len(pairs) - len(failed), "unsuccessful_keys": sorted(failed)}
        )

    def _bulk_delete(self, request: FakeRequest, _: str) -> Answer:
        keys = decoded_list(request.body)
        self._check_write(len(keys), len(request.body))
        failed = self._unsuccessful(keys)
        for key in keys:
            if key not in failed and key in self._versions:
                self._versions[key].append(_Version(self.clock.now(), None))
        return accepted(
            {"successful_key_count": len(keys) - len(failed), "unsuccessful_keys": sorted(failed)}
        )

    def _check_write(self, count: int, size: int) -> None:
        if not self.may_write:
            raise RefusalError(403, 10000, "Authentication error")
        if count > MAX_BATCH_PAIRS:
            raise RefusalError(400, 10001, f"at most {MAX_BATCH_PAIRS} at once")
        if size > MAX_BATCH_BYTES:
            raise RefusalError(413, 10033, "the request is too large")

    def _unsuccessful(self, keys: list[str]) -> set[str]:
        for key in keys:
            if status := self._refused.get(key):
                raise RefusalError(status, 10001, f"{key} is refused")
        failed = {key for key in keys if self._unwritable[key] > 0}
        self._unwritable.subtract(failed)
        return failed

    def _bulk_read(self, request: FakeRequest, _: str) -> Answer:
        keys = json.loads(request.body).get("keys", [])
        if len(keys) > MAX_READ_KEYS:
            raise RefusalError(400, 10001, f"at most {MAX_READ_KEYS} at once")
        values = {
            key: None if (value := self.read(key)) is None else value.decode("utf-8", "replace")
            for key in keys
        }
        return accepted({"values": values})

    def _read_value(self, _: FakeRequest, key: str) -> Answer:
        value = self.read(key)
        if value is None:
            raise RefusalError(404, 10009, "key not found")
        return 200, value

    def _list(self, request: FakeRequest, _: str) -> Answer:
        limit = int(request.query.get("limit", PAGE_KEYS))
        if not _MIN_PAGE_KEYS <= limit <= PAGE_KEYS:
            raise RefusalError(400, 10001, f"limit: from {_MIN_PAGE_KEYS} to {PAGE_KEYS}")
        prefix, cursor = request.query.get("prefix", ""), request.query.get("cursor", "")
        last = base64.urlsafe_b64decode(cursor).decode() if cursor else ""
        page: list[dict[str, Any]] = []
        for key in self._from(max(prefix, f"{last}\x00" if last else "", key=str.encode)):
            if not key.startswith(prefix):
                break
            if len(page) == limit:
                return accepted(
                    page,
                    {"count": limit, "cursor": base64.urlsafe_b64encode(page[-1]["name"].encode()).decode()},
                )
            if entry := self._listed(key):
                page.append(entry)
        return accepted(page, {"count": len(page), "cursor": ""})

    def _listed(self, key: str) -> dict[str, Any] | None:
        version = self._seen(key, _HERE)
        if version is None or version.value is None:
            return None
        entry: dict[str, Any] = {"name": key}
        if version.expires_at is not None:
            entry["expiration"] = int(version.expires_at)
        if version.metadata is not None:
            entry["metadata"] = version.metadata
        return entry

    def _in_order(self) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self._versions, key=str.encode)
        return self._sorted

    def _from(self, start: str) -> Iterator[str]:
        keys = self._in_order()
        at = bisect_left(keys, start.encode(), key=str.encode)
        for position in range(at, len(keys)):
            yield keys[position]

    def _seen(self, key: str, location: str) -> _Version | None:
        now = self.clock.now()
        delay = 0.0 if location == _HERE else self.propagation_seconds
        seen = [version for version in self._versions.get(key, ()) if version.written_at + delay <= now]
        if not seen or (seen[-1].expires_at is not None and seen[-1].expires_at <= now):
            return None
        return seen[-1]


_PATH = re.compile(
    r"(?:/accounts/(?P<account>[^/]+))?/storage/kv/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<route>bulk/delete|bulk/get|bulk|keys|values)(?:/(?P<rest>.+))?$"
)
_ROUTES: Mapping[tuple[str, str], Callable[[FakeKV, FakeRequest, str], Answer]] = {
    ("PUT", "bulk"): FakeKV._bulk_write,  # noqa: SLF001 - its own
    ("POST", "bulk/delete"): FakeKV._bulk_delete,  # noqa: SLF001
    ("POST", "bulk/get"): FakeKV._bulk_read,  # noqa: SLF001
    ("GET", "keys"): FakeKV._list,  # noqa: SLF001
    ("GET", "values"): FakeKV._read_value,  # noqa: SLF001
}


def _handler(fake: FakeKV) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fields = {name.lower(): value for name, value in self.headers.items()}
            query = dict(httpx.QueryParams(parts.query))
            status, answer_fields, content = fake.answer(
                FakeRequest(self.command, parts.path, query, body, fields)
            )
            self.send_response_only(status)
            for name, value in answer_fields.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    return Handler
