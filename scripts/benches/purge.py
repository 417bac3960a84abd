"""`scripts/bench purge`: what a purge costs in requests, time and memory, whatever is stored.

The API is the SDK's fake, in a process of its own: the local one takes 6 ms for each key that it writes,
and has no million responses. How fast Cloudflare answers is its own matter: what the client adds is measured.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from origin_sdk import PurgeClient, Receipt, Settings
from origin_sdk._development.process import Process
from scripts.benches.kv_server import NAMESPACE, PREFIX, READY
from scripts.benches.outbox import draining_rows, idle_row, recording_rows
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.paths import ROOT

__all__ = ["add_arguments", "measure"]

_GROUP = "products"
_FEW = 10
_START_SECONDS = 120.0
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Extent:
    """How much is measured."""

    rounds: int
    calls: int
    stored: int
    urls: int
    keys: int
    fewer_keys: int
    """More than one bulk delete takes, so that memory is at its bound."""


_FULL = _Extent(rounds=9, calls=200, stored=1_000_000, urls=100_000, keys=100_000, fewer_keys=20_000)
_QUICK = _Extent(rounds=3, calls=50, stored=20_000, urls=100_000, keys=30_000, fewer_keys=15_000)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Nothing is asked beyond what every bench is."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measure everything, and return a row for each."""
    extent = _QUICK if options.quick else _FULL
    with TemporaryDirectory() as folder:
        return [
            *_group_rows(extent, Path(folder)),
            *_url_rows(extent, Path(folder)),
            *_delete_rows(extent, Path(folder)),
            _overhead_row(extent, Path(folder)),
            *recording_rows(extent.rounds, Path(folder)),
            *_outbox_rows(extent, Path(folder)),
        ]


def _outbox_rows(extent: _Extent, folder: Path) -> Iterator[Row]:
    with _served(folder, "full", "0", _GROUP) as url, _client(url) as client:
        yield from draining_rows(extent.urls, 1000, folder, client)
        yield idle_row(folder, client)


@contextmanager
def _served(folder: Path, *arguments: str) -> Iterator[str]:
    name = "-".join(arguments)
    command: list[str | Path] = [sys.executable, "-m", "scripts.benches.kv_server", *arguments]
    with Process("kv_server", command, log=folder / f"{name}.log", folder=ROOT) as process:

        def ready() -> str | None:
            line = process.output().strip()
            return line.removeprefix(READY) if line.startswith(READY) else None

        yield process.wait_for(ready, what="its first line", seconds=_START_SECONDS)


def _client(url: str) -> PurgeClient:
    return PurgeClient(Settings(base_url=url, namespace_id=NAMESPACE))


def _timed_purges(client: PurgeClient, calls: int) -> tuple[float, Receipt]:
    """Return the mean milliseconds of a purge of the group, and the last receipt."""
    receipt = client.purge(groups=_GROUP)
    started = time.perf_counter()
    for _ in range(calls):
        receipt = client.purge(groups=_GROUP)
    return (time.perf_counter() - started) * 1000 / calls, receipt


def _group_rows(extent: _Extent, folder: Path) -> Iterator[Row]:
    few: list[float] = []
    many: list[float] = []
    requests: list[float] = []
    with (
        _served(folder, "full", str(_FEW), _GROUP) as little,
        _served(folder, "full", str(extent.stored), _GROUP) as large,
        _client(little) as over_few,
        _client(large) as over_many,
    ):
        for _ in range(extent.rounds):
            few.append(_timed_purges(over_few, extent.calls)[0])
            milliseconds, receipt = _timed_purges(over_many, extent.calls)
            many.append(milliseconds)
            requests.append(receipt.requests)
    name = f"a group of {extent.stored:,} stored responses"
    yield row("purge", name, "requests", requests, aim=AtMost(1))
    yield row(
        "purge",
        name,
        "ms",
        many,
        against=f"a group of {_FEW} stored responses",
        baseline=few,
        aim=AtMost(1.2),
    )


def _url_rows(extent: _Extent, folder: Path) -> Iterator[Row]:
    requests: list[float] = []
    seconds: list[float] = []
    urls = [f"{PREFIX}/{number}?currency=eur" for number in range(extent.urls)]
    with _served(folder, "full", "0", _GROUP) as url, _client(url) as client:
        for _ in range(min(3, extent.rounds)):
            started = time.perf_counter()
            requests.append(client.purge(urls=urls).requests)
            seconds.append(time.perf_counter() - started)
    name = f"{extent.urls:,} distinct URLs"
    yield row("purge", name, "requests", requests, aim=AtMost(12))
    yield row("purge", name, "s", seconds)


def _delete_rows(extent: _Extent, folder: Path) -> Iterator[Row]:
    smaller, _, _ = _deleted(extent.fewer_keys, folder)
    peak, seconds, receipt = _deleted(extent.keys, folder)
    name = f"a prefix of {extent.keys:,} keys, deleted"
    yield row("purge", name, "requests", [receipt.requests])
    yield row("purge", name, "s", [seconds])
    yield row(
        "purge",
        f"{name}: peak memory",
        "MiB",
        [peak / _MEBIBYTE],
        against=f"a prefix of {extent.fewer_keys:,} keys",
        baseline=[smaller / _MEBIBYTE],
        aim=AtMost(1.2),
    )


def _deleted(keys: int, folder: Path) -> tuple[int, float, Receipt]:
    """Delete ``keys`` stored responses.

    Return the client's peak of memory in bytes, the seconds, and the receipt.
    """
    with _served(folder, "full", str(keys), _GROUP) as url, _client(url) as client:
        client.purge(groups="warm-up")
        tracemalloc.start()
        started = time.perf_counter()
        receipt = client.purge(prefixes=PREFIX, hard=True, delete=True)
        seconds = time.perf_counter() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert receipt.deleted == keys  # noqa: S101 - a bench that deletes nothing measures nothing
    return peak, seconds, receipt


def _overhead_row(extent: _Extent, folder: Path) -> Row:
    bare: list[float] = []
    purged: list[float] = []
    with _served(folder, "least") as url, _client(url) as client, httpx.Client() as plain:
        target = f"{client.settings.namespace_url}/bulk"
        pair = b'{"key":"m2/s/group/products","value":"1795000000000 20261123T000000-0","expiration_ttl":99}'
        body = b"[%b]" % pair
        _timed_requests(plain, target, body, extent.calls)
        # Short rounds: whatever else the machine does then falls on both.
        for _ in range(extent.rounds * 5):
            bare.append(_timed_requests(plain, target, body, extent.calls // 5))
            purged.append(_timed_purges(client, extent.calls // 5)[0])
    return row(
        "purge",
        "purge of one group",
        "ms",
        purged,
        against="bare httpx request",
        baseline=bare,
        aim=AtMost(1.3),
    )


def _timed_requests(client: httpx.Client, url: str, body: bytes, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        client.put(url, content=body, headers={"content-type": "application/json"}).raise_for_status()
    return (time.perf_counter() - started) * 1000 / calls
