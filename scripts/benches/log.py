"""`scripts/bench log`: how soon two isolates honour a purge that the log is told of, and what a hit reads.

Both run on this machine, by a Durable Object of the same workerd, without the Cache API. What the way between
continents adds, only Cloudflare can show.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from origin_sdk._development.loopback import serving
from origin_sdk_wire.exposition import parse_document
from origin_sdk_wire.marks import group_mark
from origin_sdk_wire.purge_log.messages import parse_state
from origin_sdk_wire.purge_log.metadata import metadata_of, purged
from origin_sdk_wire.signed_requests import STATE_PATH, TELL_PATH, LogKey, sign
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["LOG_KEYS", "Edge", "add_arguments", "measure"]

_KEY = LogKey("bench", secrets.token_hex(32))
LOG_KEYS = json.dumps({_KEY.id: {"secret": _KEY.secret}})
"""The setting PURGE_LOG_KEYS of the Workers that an :class:`Edge` tells."""
_AT_ONCE = 4
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 30.0
_HOST = {"Host": "api.bench"}


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Nothing is asked beyond what every bench is."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure the lag, and what a warm request reads."""
    purges = 24 if options.quick else 1000  # each in two isolates
    with TemporaryDirectory() as folder, _origin() as origin:
        variables: dict[str, Json] = {
            "ORIGIN": origin,
            "DEVELOPMENT": True,
            "PURGE_LOG_KEYS": LOG_KEYS,
        }
        # One holds nothing in memory: each of its requests reads KV.
        workers = [
            Worker("one", variables=variables, log="one"),
            Worker("two", variables=variables, log="one"),
            Worker("reading", variables={**variables, "MEMORY_BYTES": 0}, log="one"),
        ]
        with Workerd(Path(folder), workers) as workerd, httpx.Client(trust_env=False) as client:
            edge = Edge(client, [workerd.url("one"), workerd.url("two")])
            edge.begin()
            lags = edge.lags(purges)
            reads = edge.reads_of_a_warm_request(workerd.url("reading"), 200 if options.quick else 2000)
    return [*_lag_rows(lags), row("log", "KV keys a warm request", "keys", [reads], aim=AtMost(1.1))]


def _lag_rows(lags: Sequence[float]) -> Iterator[Row]:
    ordered = sorted(lags)
    name = f"lag of a purge, {len(lags):,} in two isolates"
    yield row("log", f"{name}: median", "s", [statistics.median(ordered)], aim=AtMost(1.0))
    yield row("log", f"{name}: 99 of 100", "s", [ordered[round(0.99 * (len(ordered) - 1))]], aim=AtMost(2.0))
    yield row("log", f"{name}: worst", "s", [ordered[-1]], aim=AtMost(2.5))


class Edge:
    """Isolates of one purge log, as a client and as someone who purges sees them."""

    def __init__(self, client: httpx.Client, urls: Sequence[str]) -> None:
        self._client = client
        self._urls = urls

    def begin(self) -> None:
        """Have the log begin: what is stored later needs no marks."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not parse_state(self._post(STATE_PATH, {})).known_ms:
            assert time.monotonic() < deadline, "the log never listed KV"  # noqa: S101 - a bench without a log
            for url in self._urls:
                self._body(url, "/begin")
            time.sleep(_POLL_SECONDS)

    def lags(self, purges: int) -> list[float]:
        """Return for each purge and isolate after how many seconds it was honoured."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            both = list(pool.map(self._lag, range(purges)))
        return [lag for lags in both for lag in lags]

    def _lag(self, number: int) -> list[float]:
        path = f"/{number}"
        old = {url: self._body(url, path) for url in self._urls}
        time.sleep(secrets.randbelow(1000) / 1000)  # purges come at any time between two questions
        began = time.monotonic()
        self.purge(f"group{path.replace('/', '-')}")
        lags: dict[str, float] = {}
        while len(lags) < len(self._urls) and time.monotonic() < began + _PATIENCE_SECONDS:
            for url in self._urls:
                if url not in lags and self._body(url, path) != old[url]:
                    lags[url] = time.monotonic() - began
            time.sleep(_POLL_SECONDS)
        return [lags.get(url, _PATIENCE_SECONDS) for url in self._urls]

    def purge(self, group: str) -> None:
        """Tell the log that a group is purged, hard."""
        entries = purged(secrets.token_hex(8), _now_ms() + 50, [group_mark(group)], hard=True)
        self._post(TELL_PATH, {"entries": [{"id": entry.id, **metadata_of(entry)} for entry in entries]})

    def reads_of_a_warm_request(self, url: str, requests: int) -> float:
        """Return how many keys of KV a request reads whose response is in KV."""
        for _ in range(5):
            self._body(url, "/warm")
            time.sleep(0.5)
        before = self._reads(url)
        for _ in range(requests):
            self._body(url, "/warm")
        return (self._reads(url) - before) / requests

    def _reads(self, url: str) -> float:
        told = self._client.get(f"{url}/.edge-cache/metrics", headers={"Host": "localhost"})
        return parse_document(told.text).isolates[0].counts.total("kv_keys", operation="read")

    def _body(self, url: str, path: str) -> bytes:
        return self._client.get(url + path, headers=_HOST).content

    def _post(self, path: str, told: object) -> str:
        body = json.dumps(told).encode()
        fields = sign(_KEY, path, body, _now_ms(), secrets.token_hex(16))
        reply = self._client.post(self._urls[0] + path, content=body, headers={**fields, **_HOST})
        return reply.raise_for_status().text


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _origin() -> Iterator[str]:
    """Serve responses of a group each, no two alike."""
    numbers = count()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = str(next(numbers)).encode()
            self.send_response(200)
            self.send_header("Cache-Control", "max-age=3600")
            self.send_header("Cache-Tag", f"group{self.path.replace('/', '-')}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with serving(Answering) as url:
        yield url
