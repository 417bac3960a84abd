"""`scripts/bench comparisons`: the Worker in local workerd beside Varnish and nginx, all on one machine.

- hits of 10 KB: how many, and what each takes of the CPU;
- what a crowd costs the origin that asks for one URL which isn't stored, or may not be;
- what is answered once the origin is gone;
- how soon a purge of a tag is seen. nginx has none.

Each does as it does by itself; where a directive or two change that, these are measured, too, as *told to*.
What no machine shows: Cloudflare's network, whose locations are near to clients and see writes to KV later.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from origin_sdk._development.loopback import serving
from origin_sdk._development.process import Process, ProcessError
from origin_sdk_wire.marks import Lane, Mark, group_mark, value_of, written_keys
from origin_sdk_wire.settings import Settings
from scripts.benches import nginx, varnish
from scripts.benches.load import HOST, Target, loads
from scripts.benches.log import LOG_KEYS, Edge
from scripts.benches.rows import Row, row
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["add_arguments", "measure"]

_FIELDS = {"Host": HOST}
_BYTES = 10_240
_SLOW_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
_TAG = "products"
_BY_ITSELF, _TOLD = "default", "told"
_NGINX_LOCATIONS: Mapping[str, Sequence[str]] = {
    "/": (),
    f"/{_TOLD}/": (
        "proxy_cache_lock on",
        "proxy_cache_use_stale error timeout updating http_502 http_503 http_504",
        "proxy_cache_background_update on",
    ),
}
_VARNISH_RULES = f'  if (bereq.url ~ "^/{_TOLD}/") {{ set beresp.grace = 1d; }}'
_WORKER, _WORKER_KV, _WORKER_LOG = "workerd", "workerd, from KV", "workerd, purge log"
_VARNISH, _NGINX = "Varnish", "nginx"


@dataclass(frozen=True, slots=True)
class _Cache:
    """A running cache, and how it purges the tag of all that the origin answers, if it can."""

    name: str
    url: str
    process: Process
    purge: Callable[[], object] | None = None
    is_told: bool = False
    """Whether it is given more than its defaults by paths that begin so."""


@dataclass(frozen=True, slots=True)
class _Extent:
    warm_ups: int
    rounds: int
    seconds: int
    crowd: int
    purges: int
    within_seconds: float
    """A purge comes at any time within so many seconds of what was asked before, as in life."""
    tagged: int
    past_seconds: Sequence[int]
    """So many seconds past its lifetime a response is asked for once the origin is gone."""


_FULL = _Extent(
    warm_ups=2,
    rounds=7,
    seconds=1,
    crowd=50,
    purges=15,
    within_seconds=Settings.mark_interval,
    tagged=50,
    past_seconds=(2, 20),
)
_QUICK = _Extent(
    warm_ups=0,
    rounds=1,
    seconds=1,
    crowd=8,
    purges=1,
    within_seconds=0.1,
    tagged=3,
    past_seconds=(1,),
)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Nothing is asked beyond what every bench is."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure all that is installed."""
    extent = _QUICK if options.quick else _FULL
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        client = stack.enter_context(httpx.Client(headers=_FIELDS, trust_env=False, timeout=60))
        origin = _Origin()
        url = stack.enter_context(origin.serve())
        caches = [*_edges(Path(folder), url, stack, client), *_others(Path(folder), url, stack)]
        return [
            *_hits(caches, origin, extent, client),
            *_crowds(caches, origin, extent, client),
            *_purges(caches, extent, client),
            *_outages(caches, origin, extent, client),
        ]


class _Origin:
    """Answers each path with 10 KB, no two alike, of a tag; what the path says, it does. It counts."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self._numbers = count(1)
        self.stop: Callable[[], None] = lambda: None

    @contextmanager
    def serve(self) -> Iterator[str]:
        origin = self

        class Answering(BaseHTTPRequestHandler):  # HTTP/1.0: no connection outlives the origin
            def do_GET(self) -> None:
                origin.asked[self.path] = origin.asked.get(self.path, 0) + 1
                if "/slow" in self.path:
                    time.sleep(_SLOW_SECONDS)
                body = f"{next(origin._numbers)} ".encode().ljust(_BYTES, b"x")
                self.send_response(200)
                # What none of them compresses: the bytes are the same for all.
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Cache-Control", _said_of(self.path))
                self.send_header("Cache-Groups", f'"{_TAG}"')
                self.send_header("xkey", _TAG)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with ExitStack() as running:
            url = running.enter_context(serving(Answering))
            self.stop = running.close
            yield url


def _said_of(path: str) -> str:
    if "/nobody" in path:
        return "no-store"
    return "max-age=1" if "/short" in path else "max-age=86400"


# What runs


def _edges(folder: Path, origin: str, stack: ExitStack, client: httpx.Client) -> Iterator[_Cache]:
    variables: dict[str, Json] = {"ORIGIN": origin}
    workers = [
        Worker("edge", variables=variables),
        Worker("without-memory", variables={**variables, "MEMORY_BYTES": 0}),
        *(
            Worker(name, variables={**variables, "PURGE_LOG_KEYS": LOG_KEYS}, log="told")
            for name in ("told", "asked")
        ),
    ]
    workerd = stack.enter_context(Workerd(folder / "workerd", workers))
    # Another isolate is told than the one that is asked, which has to hear of it.
    log = Edge(client, [workerd.url("told"), workerd.url("asked")])
    log.begin()

    def mark() -> None:
        for key in written_keys([group_mark(_TAG)], Lane.HARD):
            workerd.store().put(key, value_of(key, Mark(time.time_ns() // 1_000_000 + 50)).encode())

    yield _Cache(_WORKER, workerd.url("edge"), workerd.process, mark)
    yield _Cache(_WORKER_KV, workerd.url("without-memory"), workerd.process)
    yield _Cache(_WORKER_LOG, workerd.url("asked"), workerd.process, lambda: log.purge(_TAG))


def _others(folder: Path, origin: str, stack: ExitStack) -> Iterator[_Cache]:
    if varnish.PROGRAM:
        cache = varnish.Varnish(folder / "varnish", origin, _VARNISH_RULES)
        stack.callback(cache.process.stop)
        fields = {"xkey": _TAG, **_FIELDS}

        def purge() -> None:
            httpx.request("PURGE", cache.url, headers=fields, trust_env=False).raise_for_status()

        yield _Cache(_VARNISH, cache.url, cache.process, purge, is_told=True)
    else:
        _say("Varnish is missing (apt-get install varnish varnish-modules): no rows for it")
    if nginx.PROGRAM:
        server = nginx.Nginx(folder / "nginx", origin, _NGINX_LOCATIONS)
        stack.callback(server.process.stop)
        yield _Cache(_NGINX, server.url, server.process, is_told=True)
    else:
        _say("nginx is missing (apt-get install nginx): no rows for it")


def _say(text: str) -> None:
    print(f"scripts/bench: {text}", file=sys.stderr)


# What is measured


def _hits(caches: Sequence[_Cache], origin: _Origin, extent: _Extent, client: httpx.Client) -> Iterator[Row]:
    if not shutil.which("wrk"):
        _say("wrk is missing (apt-get install wrk): no rows for hits")
        return
    path = f"/{_BY_ITSELF}/hot"
    targets = [Target(each.name, each.url, path, each.process) for each in caches if each.name != _WORKER_LOG]
    for target in targets:
        for _ in range(3):
            client.get(target.url).raise_for_status()
            time.sleep(0.2)  # what is stored behind the response is there by then
    before = origin.asked[path]
    runs = [loads(targets, extent.seconds, at_once=1) for _ in range(extent.warm_ups + extent.rounds)]
    runs = runs[extent.warm_ups :]
    if origin.asked[path] != before:
        raise ProcessError(f"the origin was asked {origin.asked[path] - before} times: these were no hits")
    for unit, values in (
        ("requests/s", [[load.requests_per_second for load in run] for run in runs]),
        ("µs of CPU", [[load.cpu_microseconds for load in run] for run in runs]),
    ):
        by_name = dict(zip((each.name for each in targets), zip(*values, strict=True), strict=True))
        against = _NGINX if _NGINX in by_name else None
        for name, own in by_name.items():
            compared = against if name != against else None
            baseline = by_name[compared] if compared else ()
            yield row("hit of 10 KB", name, unit, own, against=compared, baseline=baseline)


def _ways(caches: Sequence[_Cache]) -> Iterator[tuple[str, str, _Cache]]:
    """Yield each cache as it is by itself, and where that is something else as told to."""
    for cache in caches:
        if cache.name == _WORKER or cache.is_told:
            yield cache.name, _BY_ITSELF, cache
        if cache.is_told:
            yield f"{cache.name}, told to", _TOLD, cache


def _crowds(
    caches: Sequence[_Cache], origin: _Origin, extent: _Extent, client: httpx.Client
) -> Iterator[Row]:
    part = f"{extent.crowd} at once, of {_SLOW_SECONDS:g} s"
    for kind, text in (("slow", "may be stored"), ("slow-nobody", "may not")):
        for name, way, cache in _ways(caches):
            path = f"/{way}/{kind}/{cache.name}".replace("slow-", "slow/")
            began = time.monotonic()
            with ThreadPoolExecutor(extent.crowd) as pool:
                for answer in pool.map(client.get, [cache.url + path] * extent.crowd):
                    answer.raise_for_status()
            seconds = time.monotonic() - began
            yield row(part, f"{text}: {name}", "origin requests", [float(origin.asked[path])])
            yield row(part, f"{text}: {name}", "s until all have it", [seconds])


def _purges(caches: Sequence[_Cache], extent: _Extent, client: httpx.Client) -> Iterator[Row]:
    for cache in caches:
        if cache.purge is None:
            continue
        urls = [f"{cache.url}/{_BY_ITSELF}/tagged/{cache.name}/{number}" for number in range(extent.tagged)]
        lags = [_lag(cache.purge, urls, client, extent.within_seconds) for _ in range(extent.purges)]
        name = f"{cache.name}, {extent.tagged} responses"
        yield row("purge of a tag", f"{name}: median", "s", [statistics.median(lags)])
        yield row("purge of a tag", f"{name}: worst", "s", [max(lags)])


def _lag(
    purge: Callable[[], object], urls: Sequence[str], client: httpx.Client, within_seconds: float
) -> float:
    """Return how many seconds after a purge the last old answer came, where somebody asks all the time."""
    for url in urls:
        client.get(url)
    time.sleep(1.1)  # stored; and a key of KV is written once a second
    old = {url: client.get(url).content for url in urls}
    later = time.monotonic() + secrets.randbelow(1000) / 1000 * within_seconds
    while time.monotonic() < later:
        client.get(urls[0])
        time.sleep(0.01)
    began = time.monotonic()
    purge()
    lag = 0.0
    while old and time.monotonic() < began + _PATIENCE_SECONDS:
        for url in list(old):
            if client.get(url).content == old[url]:
                lag = time.monotonic() - began
            else:
                del old[url]
    return lag


def _outages(
    caches: Sequence[_Cache], origin: _Origin, extent: _Extent, client: httpx.Client
) -> Iterator[Row]:
    ways = [(seconds, *way) for seconds in extent.past_seconds for way in _ways(caches)]
    urls = [f"{cache.url}/{way}/short/{name}/{past}" for past, name, way, cache in ways]
    for url in urls:
        client.get(url).raise_for_status()
    stored = time.monotonic()
    time.sleep(0.5)
    origin.stop()
    for (past, name, _, _), url in zip(ways, urls, strict=True):
        time.sleep(max(0.0, stored + 1 + past - time.monotonic()))
        status = float(client.get(url).status_code)
        yield row("the origin is gone", f"{past} s past its lifetime: {name}", "status", [status])
