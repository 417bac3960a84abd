"""Cloudflare's API on a bad day: it throttles, fails, is late, does a part of it, and drops connections."""

from __future__ import annotations

import json
import random  # noqa: TID251 - chance is what this is about
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock
from urllib.parse import urlsplit

from origin_sdk._development.loopback import LoopbackServer, serving
from origin_sdk._process.clock import SystemClock
from origin_sdk.testing import FakeKV, FakeRequest

__all__ = ["CLOCK", "READ_SECONDS", "BadApi"]

CLOCK = SystemClock()
READ_SECONDS = 0.15
"""For how long a client waits for a reply; what is late takes twice that."""


@dataclass
class BadApi:
    """Cloudflare's API on a bad day, on a port."""

    seed: int
    fake: FakeKV = field(default_factory=lambda: FakeKV(clock=CLOCK, rate_limit=10**9))
    faults: dict[str, int] = field(default_factory=dict)
    is_well: bool = False
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Seed chance."""
        self._random = random.Random(self.seed)  # noqa: S311 - a test's

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve it, and yield the base URL."""
        with serving(_handler(self), _Server) as url:
            yield url

    def fault(self) -> str:
        """Choose how the next request ends; half the time well."""
        kinds = ["", "throttled", "failed", "partly", "late", "dropped before", "dropped after"]
        with self._lock:
            if self.is_well:
                return ""
            [kind] = self._random.choices(kinds, [50, 2, 8, 15, 5, 10, 10])
            self.faults[kind or "none"] = self.faults.get(kind or "none", 0) + 1
        return kind

    def answer(self, request: FakeRequest, *, is_partly: bool) -> tuple[int, dict[str, str], bytes]:
        """Do what is asked for; ``is_partly``, leave half of the keys unwritten."""
        if is_partly:
            keys = [pair["key"] for pair in json.loads(request.body)]
            with self._lock:
                self.fake.leave_unsuccessful(*self._random.sample(keys, (len(keys) + 1) // 2))
        return self.fake.answer(request)


_REFUSALS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "throttled": (429, {"retry-after": "1"}, b""),
    "failed": (503, {}, b""),
}


class _Server(LoopbackServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed."""


def _handler(api: BadApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_PUT()

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fields = {name.lower(): value for name, value in self.headers.items()}
            request = FakeRequest(self.command, urlsplit(self.path).path, {}, body, fields)
            fault = api.fault()
            self.close_connection = fault.startswith("dropped") or fault == "late"
            if fault == "dropped before":
                return
            answer = _REFUSALS.get(fault) or api.answer(request, is_partly=bool(body) and fault == "partly")
            if fault == "late":
                time.sleep(READ_SECONDS * 2)
            if not self.close_connection:
                self._answer(*answer)

        def _answer(self, status: int, fields: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in {**fields, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    return Handler
