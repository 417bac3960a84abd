"""`scripts/bench scale`: what the edge costs and spares at the size of the internet, simulated.

The Worker's own policy, keys and marks decide (:mod:`origin_sdk.simulation`); traffic, locations and KV are a
model. Of many isolates two at one location are followed, each at the rate that all of them have; what the
others do is in KV when these look: what expired is renewed as soon as somebody in the world asks for it.

What errs: the followed location hears of renewals elsewhere when its cached look-up of KV is over, and so
asks the origin a little more often than it would; locations are of one size, and none is quiet at night.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - one seed, the same traffic in each run
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import ceil
from zlib import crc32

from rich import box
from rich.console import Console
from rich.table import Table

from origin_sdk._values.prices import MONTH_SECONDS, PRICES
from origin_sdk._values.targets import Purge
from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.counts import HITS, Histogram, RuleCounts
from origin_sdk.simulation.edge import Answered, Edge, Held
from origin_sdk.simulation.exchanges import LoggedRequest
from origin_sdk.simulation.store import SimulatedStore
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.purge_log.reader import ASK_MS
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import DEFAULT_RULE, Settings
from origin_sdk_wire.storability import record_of
from scripts.benches.rows import AtMost, Row, row

__all__ = ["add_arguments", "measure"]

_URLS = 100_000
_LISTS = 50
"""Groups that many share; a response has one of these, one of twenty times as many, and one of its own."""
_LOCATIONS = 200
_ISOLATE_RATE = 200.0
"""The most requests a second that come to one isolate; above, there are more of them."""
_LEAST_ISOLATES = 5
_ISOLATE_SECONDS = 900
_FOLLOWED = 2
_ORIGIN_MS = 80
_BODY_BYTES = 4000
_SHARED_PURGES = 0.15
_RATES = (100, 1_000, 10_000, 100_000, 1_000_000)
_PURGE_RATES = (0.01, 1.0)
_LOG_RATE, _LOG_LOCATIONS = 1000, 100
_LOG_SECONDS = 600
_HOST = "https://api.example.com"
_MILLION = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let one take a single rate."""
    parser.add_argument("--rps", type=int, metavar="N", help="only this rate: requests a second in the world")


def measure(options: argparse.Namespace) -> list[Row]:
    """Print the table of ``docs/cost.md`` and return a row for each rate of requests and of purges."""
    rates = [options.rps] if options.rps else _RATES[:2] if options.quick else _RATES
    seconds = 60 if options.quick else _ISOLATE_SECONDS
    worlds = [World(rate, purges, seconds) for purges in _PURGE_RATES for rate in rates]
    results = [world.run() for world in worlds]
    _show(results)
    asked = object_requests(_LOG_RATE, _LOG_LOCATIONS, _PURGE_RATES[-1], seconds=_LOG_SECONDS)
    name = f"{_LOG_RATE:,}/s, {_LOG_LOCATIONS} locations, {_PURGE_RATES[-1]:g} purges/s: object requests"
    return [
        row("purge log", name, "a million", [asked], aim=AtMost(100_000)),
        *(
            row(name, f"{result.world.rate:,}/s, {result.world.purges:g} purges/s", unit, [value])
            for result in results
            for name, unit, value in (
                ("KV keys a request", "keys", result.kv_keys),
                ("KV, a million requests", "$", result.dollars),
                ("origin requests", "/s", result.origin_rate),
            )
        ),
    ]


def object_requests(rate: float, locations: int, purges: float, *, seconds: float) -> float:
    """Return the requests to the purge log's object for a million requests of clients.

    One location is simulated, and stands for all: a request comes to an isolate, which asks behind it if it
    hasn't for a second; what another one was told within the last second is in the cache of the location. A
    purge is told once, and whoever takes that asks at once.
    """
    chance = random.Random(7)  # noqa: S311 - no secret
    own_rate, at, kept_until, asked, requests = rate / locations, 0.0, 0.0, 0, 0
    due = [0.0] * _LEAST_ISOLATES
    while at < seconds:
        at += chance.expovariate(own_rate)
        requests += 1
        isolate = chance.randrange(len(due))
        if at < due[isolate]:
            continue
        due[isolate] = at + ASK_MS / 1000
        if at >= kept_until:
            asked += 1
            kept_until = at + _CACHED_SECONDS
    told = 2 * purges * seconds / locations
    return (asked + told) / requests * _MILLION


@dataclass(frozen=True, slots=True)
class World:
    """Traffic of ``rate`` requests and ``purges`` purges a second, watched for ``seconds``."""

    rate: float
    purges: float
    seconds: float
    purge_log: bool = False

    @property
    def isolates(self) -> int:
        """How many there are at each location."""
        return max(_LEAST_ISOLATES, ceil(self.rate / _LOCATIONS / _ISOLATE_RATE))

    @property
    def followed_rate(self) -> float:
        """Requests a second that come to the isolates that are followed."""
        return self.rate * _FOLLOWED / (_LOCATIONS * self.isolates)

    def run(self) -> Result:
        """Let isolates come to be what they are on average, then count."""
        chance = random.Random(7)  # noqa: S311 - no secret
        # At the second location nothing is followed: what others write is written there.
        assumptions = Assumptions(
            locations=2, isolates=_FOLLOWED, isolate_minutes=_ISOLATE_SECONDS / 60, purge_log=self.purge_log
        )
        edge = Edge(Settings(), assumptions, max_keys=10 * _URLS)
        others = Others(edge, self, chance)
        edge.kv, edge.on_answered = others, others.look
        for now_ms, number in _requests(self, chance):
            if not others.is_watching and now_ms >= _START_MS + self.seconds * 1000:
                edge.ledger.overall, others.is_watching = RuleCounts(), True
            others.purge_until(now_ms)
            facts = RequestFacts("GET", parse_target(f"{_HOST}/items/{number}"), {})
            edge.answer(_answer_of(number, now_ms), facts, now_ms)
        return Result(self, edge.ledger.overall, others)


class Others(SimulatedStore[Held]):
    """KV, and all that aren't followed: they renew what expired when somebody asks, and purge."""

    def __init__(self, edge: Edge, world: World, chance: random.Random) -> None:
        super().__init__(2, int(edge.assumptions.kv_seconds * 1000))
        self.is_watching = False
        self.outdated_ms = Histogram()
        """For how long what was purged was still sent, of each such answer."""
        self._edge = edge
        self._world = world
        self._chance = chance
        self._others_rate = (world.rate - world.followed_rate) / 1000
        self._births: dict[int, int] = {}
        self._renewals: dict[int, float] = {}
        self._purged_ms: dict[str, int] = {}
        self._next_purge_ms = float(_START_MS)

    def read(self, key: str, location: int, now_ms: int) -> Held | None:
        """Return what a location sees, after the others have renewed what was theirs to renew."""
        number = int(key.rpartition("/")[2])
        before = self._births.get(number)
        birth_ms = self._renewed(number, now_ms)
        if birth_ms is not None and birth_ms != before:
            self._births[number] = birth_ms
            super().write(key, _held(number, birth_ms), _ELSEWHERE, birth_ms + _ORIGIN_MS)
        return super().read(key, location, now_ms)

    def write(self, key: str, value: Held, location: int, written_ms: int) -> None:
        """Write what a followed isolate got of the origin."""
        number = int(key.rpartition("/")[2])
        self._births[number] = value.record.birth_ms
        self._renewals.pop(number, None)
        super().write(key, value, location, written_ms)

    def _renewed(self, number: int, now_ms: int) -> int | None:
        """Return when the others last had a response of the origin; ``None`` if it was too long ago."""
        rate = _POPULARITY[number] * self._others_rate
        birth_ms = self._births.get(number)
        if birth_ms is None:
            # Where it stands in the cycle of lifetime and wait for somebody who asks.
            cycle_ms = _LIFETIME_MS + self._chance.expovariate(rate)
            birth_ms = now_ms - int(self._chance.random() * cycle_ms)
            return birth_ms if cycle_ms < _RETENTION_MS else None
        while True:
            over_ms = min(birth_ms + _LIFETIME_MS, self._purged_since(number, birth_ms))
            due_ms = self._renewals.get(number)
            if due_ms is None or due_ms < over_ms or due_ms > over_ms + _RETENTION_MS:
                due_ms = self._renewals[number] = over_ms + self._chance.expovariate(rate)
            if due_ms > now_ms:
                return birth_ms
            birth_ms = int(due_ms)
            del self._renewals[number]

    def _purged_since(self, number: int, birth_ms: int) -> int:
        """Return the moment of the last purge of a URL after a birth; the far future for none."""
        last_ms = max(self._purged_ms.get(group, 0) for group in _groups(number))
        return last_ms if last_ms > birth_ms else _NEVER

    def purge_until(self, now_ms: int) -> None:
        """Purge groups at the world's rate, a URL's own mostly."""
        while self._next_purge_ms <= now_ms:
            at_ms = int(self._next_purge_ms)
            self._next_purge_ms += self._chance.expovariate(self._world.purges / 1000)
            own, *shared = _groups(_chosen(self._chance))
            group = shared[0] if self._chance.random() < _SHARED_PURGES else own
            self._purged_ms[group] = at_ms
            self._edge.purge(Purge.of(groups=[group]).marks(()), at_ms)

    def look(self, answered: Answered) -> None:
        """Note what is sent although it was purged."""
        if not self.is_watching or answered.tier not in HITS:
            return
        number = int(answered.lookup.key.rpartition("/")[2])
        purged_ms = self._purged_since(number, answered.birth_ms)
        if purged_ms < answered.now_ms and answered.tier != "stale":
            self.outdated_ms.add(answered.now_ms - purged_ms)


@dataclass(frozen=True, slots=True)
class Result:
    """What the followed isolates of a world counted."""

    world: World
    counts: RuleCounts
    others: Others

    @property
    def kv_keys(self) -> float:
        """KV keys read for each request."""
        return self.counts.kv_reads / self.counts.requests

    def share(self, *tiers: str) -> float:
        """The share of requests that these tiers answered."""
        return sum(self.counts.by_tier[tier] for tier in tiers) / self.counts.requests

    @property
    def dollars(self) -> float:
        """Dollars that KV costs for a million requests."""
        each = {"kv_reads": self.counts.kv_reads, "kv_writes": self.counts.kv_writes}
        return sum(PRICES[name].of(units) for name, units in each.items()) / self.counts.requests * _MILLION

    @property
    def origin_rate(self) -> float:
        """Requests a second to the origin, of all isolates in the world."""
        return self.counts.origin_requests / self.counts.requests * self.world.rate


def _requests(world: World, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Yield moment and URL of the requests to the followed isolates, over twice the time that is watched."""
    at_ms = float(_START_MS)
    while at_ms < _START_MS + 2000 * world.seconds:
        at_ms += chance.expovariate(world.followed_rate / 1000)
        yield int(at_ms), _chosen(chance)


def _chosen(chance: random.Random) -> int:
    return bisect(_CUMULATED, chance.random() * _CUMULATED[-1])


def _groups(number: int) -> tuple[str, ...]:
    return f"item-{number}", f"list-{number % _LISTS}", f"owner-{number % (_LISTS * 20)}"


@cache
def _fields(number: int) -> Mapping[str, str]:
    lifetime = f"max-age={_LIFETIME_MS // 1000}"
    return {"cache-control": lifetime, "surrogate-key": " ".join(_groups(number)), "etag": '"1"'}


def _answer_of(number: int, now_ms: int) -> LoggedRequest:
    return LoggedRequest(
        now_ms, _CLIENT, "GET", "", 200, _BODY_BYTES, _ORIGIN_MS, response_fields=_fields(number)
    )


def _held(number: int, birth_ms: int) -> Held:
    response = ResponseFacts(200, _fields(number), birth_ms, birth_ms + _ORIGIN_MS)
    return Held(record_of(response, DEFAULT_RULE, Settings()), _BODY_BYTES, ())


def _show(results: Sequence[Result]) -> None:
    table = Table(box=box.MARKDOWN)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for result in results:
        world, lag = result.world, result.others.outdated_ms
        table.add_row(
            f"{world.rate:,.0f}",
            f"{world.purges:g}",
            "log" if world.purge_log else "keys",
            f"{result.share('memory'):.0%}",
            f"{result.share('kv'):.0%}",
            f"{result.kv_keys:.2f}",
            f"{result.dollars:.2f}",
            f"{result.dollars * world.rate * MONTH_SECONDS / _MILLION:,.0f}",
            f"{result.origin_rate:,.1f}",
            f"{lag.count / result.counts.requests:.3%}",
            f"{lag.quantile(0.5) / 1000:.0f} / {lag.quantile(0.99) / 1000:.0f}",
        )
    Console(width=160).print(table)


_COLUMNS = (
    "requests/s", "purges/s", "purges by", "memory", "KV", "KV keys", "$ a million", "$ a month",
    "origin/s", "outdated", "for s, p50 / p99",
)  # fmt: skip
_WEIGHTS = [1 / (rank + 1) for rank in range(_URLS)]
_CUMULATED = list(accumulate(_WEIGHTS))
_POPULARITY = [weight / _CUMULATED[-1] for weight in _WEIGHTS]
_LIFETIME_MS = 3_600_000
_RETENTION_MS = 7 * 86_400_000
_CACHED_SECONDS = 1.0
"""For how long a location's cache holds what the purge log's object said."""
_NEVER = 2**62
_START_MS = 1_800_000_000_000
_ELSEWHERE = 1
_CLIENT = next(f"10.0.0.{number}" for number in range(256) if crc32(f"10.0.0.{number}".encode()) % 2 == 0)
"""A client of the first of two locations."""
