"""What a request costs at KV and at the origin: counted by a KV and an origin that count, then in dollars."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from origin_sdk._development.process import ProcessError
from origin_sdk._values.prices import PRICES
from scripts.benches.load import HOST
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import StandIn, Worker

__all__ = [
    "DOLLARS_A_MILLION_READS",
    "DOLLARS_A_MILLION_WRITES",
    "MIX",
    "Requests",
    "Usage",
    "cost_rows",
    "dollars",
    "measure_usage",
]

DOLLARS_A_MILLION_READS = PRICES["kv_reads"].of(1e6)
DOLLARS_A_MILLION_WRITES = PRICES["kv_writes"].of(1e6)
MIX: Mapping[str, float] = {"hot": 0.90, "warm": 0.09, "cold": 0.01}
"""An example: the share of each kind among an API's requests."""

_HOT_READS = AtMost(0.1)
_SETTLE_SECONDS = 0.5
_SETTLE_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """KV keys read, KV keys written and requests to the origin, for each request."""

    reads: float
    writes: float
    origin: float

    def minus(self, other: Usage) -> Usage:
        """Return what was used since ``other``."""
        return Usage(self.reads - other.reads, self.writes - other.writes, self.origin - other.origin)

    def over(self, requests: int) -> Usage:
        """Return the average over ``requests``."""
        return Usage(self.reads / requests, self.writes / requests, self.origin / requests)


def dollars(usage: Usage) -> float:
    """Return the price of KV for a million requests."""
    return usage.reads * DOLLARS_A_MILLION_READS + usage.writes * DOLLARS_A_MILLION_WRITES


def cost_rows(usages: Mapping[str, Usage]) -> list[Row]:
    """Return the rows for the usage of each temperature, and for the mixed example."""
    rows: list[Row] = []
    for name, usage in usages.items():
        rows += [
            row(
                "cost",
                f"{name} request: KV keys read",
                "per request",
                [usage.reads],
                aim=_HOT_READS if name == "hot" else None,
            ),
            row("cost", f"{name} request: KV keys written", "per request", [usage.writes]),
            row("cost", f"{name} request: origin requests", "per request", [usage.origin]),
            row("cost", f"{name} request: KV's price", "$ per million", [dollars(usage)]),
        ]
    mixed = sum(share * dollars(usages[name]) for name, share in MIX.items())
    parts = ", ".join(f"{share:.0%} {name}" for name, share in MIX.items())
    return [*rows, row("cost", f"{parts}: KV's price", "$ per million", [mixed])]


class _Counters:
    def __init__(self, origin: str, store: str) -> None:
        self._origin = origin
        self._store = store

    def used(self) -> Usage:
        """Return what was used so far, once nothing more is under way."""
        before, deadline = self._now(), time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_SETTLE_POLL_SECONDS)
            if (now := self._now()) != before:
                before, deadline = now, time.monotonic() + _SETTLE_SECONDS
        return before

    def _now(self) -> Usage:
        kv = httpx.get(f"{self._store}/-/count", trust_env=False).raise_for_status().json()
        origin = httpx.get(f"{self._origin}/-/count", trust_env=False).raise_for_status()
        return Usage(kv["reads"], kv["writes"], int(origin.text))


@contextmanager
def counted(folder: Path, workers: Path) -> Iterator[tuple[Workerd, _Counters]]:
    """Run two isolates of the cache, `one` and `other`, over a KV and an origin that count."""
    behind = [Worker("origin", workers, main="origin.js"), Worker("kv", workers, main="counting_kv.js")]
    with Workerd(folder / "counters", behind) as counters:
        origin, store = counters.url("origin"), counters.url("kv")
        bound = {"CACHE": StandIn(store.removeprefix("http://"))}
        edges = [Worker(name, variables={"ORIGIN": origin}, stores=bound) for name in ("one", "other")]
        with Workerd(folder / "counted", edges) as edge:
            yield edge, _Counters(origin, store)


@dataclass(frozen=True, slots=True)
class Requests:
    """How many requests are counted: ``hot`` ones for one URL, spread over ``hot_seconds``; ``urls`` others.

    The others are asked for cold of one isolate, and ``rest_seconds`` later warm of another. That is longer
    than the default MARK_INTERVAL: the marks of younger responses needn't be read.
    """

    hot: int
    hot_seconds: float
    urls: int
    rest_seconds: float


def measure_usage(folder: Path, workers: Path, requests: Requests) -> dict[str, Usage]:
    """Return the usage of a hot request (in memory), a warm one (in KV alone) and a cold one (nowhere)."""
    paths = [f"/p/{number}" for number in range(requests.urls)]
    with counted(folder, workers) as (edge, counters):
        start = counters.used()
        _ask(edge.url("one"), paths)
        cold = counters.used()
        time.sleep(requests.rest_seconds)
        _ask(edge.url("other"), paths, expected="hit")
        warm = counters.used()
        _ask(edge.url("other"), paths[:1] * requests.hot, expected="hit", seconds=requests.hot_seconds)
        hot = counters.used()
    return {
        "hot": hot.minus(warm).over(requests.hot),
        "warm": warm.minus(cold).over(requests.urls),
        "cold": cold.minus(start).over(requests.urls),
    }


def _ask(base: str, paths: list[str], *, expected: str = "fwd=uri-miss", seconds: float = 0.0) -> None:
    began = time.monotonic()
    with httpx.Client(base_url=base, headers={"Host": HOST}, trust_env=False) as client:
        for position, path in enumerate(paths):
            wait = began + seconds * position / len(paths) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            shown = client.get(path).raise_for_status().headers.get("cache-status", "")
            if expected not in shown:
                raise ProcessError(f"{path} was to be answered with {expected}, and came with {shown!r}")
