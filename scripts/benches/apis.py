"""`scripts/bench apis`: what the traffic of each example costs at the edge, and how much of it hits.

The Worker's own policy decides (:mod:`origin_sdk.simulation`), at ten locations with two isolates each, from
a cold start on, with the purge log. The READMEs under ``examples/apis`` name what comes out.
"""

from __future__ import annotations

import argparse
import json
import random  # noqa: TID251 - one seed, the same traffic in each run
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from examples.apis.catalog import variables_of
from origin_sdk._values.prices import dollars
from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.edge import Edge
from origin_sdk.simulation.exchanges import LoggedRequest
from origin_sdk_edge.policy.facts import CheckedToken, Content, RequestFacts
from origin_sdk_wire.config import load
from origin_sdk_wire.content import content_key
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.rules import KeyBody
from scripts.benches.rows import Row, row

__all__ = ["TRAFFIC", "Measured", "add_arguments", "measure", "measured"]

_START_MS = 1_795_744_800_000
_LOCATIONS, _ISOLATES, _CLIENTS = 10, 2, 5_000
_REQUESTS = 10_000
_HOST = "https://api.example.com"

Asked: TypeAlias = tuple[RequestFacts, Mapping[str, str], int]
"""A request, the fields of the response that the application gives, and the bytes of its body."""


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Take nothing of its own."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Return rows for each example."""
    found = {name: measured(name, 1000 if options.quick else _REQUESTS) for name in TRAFFIC}
    return [
        row(name, what, unit, [value])
        for name, each in found.items()
        for what, unit, value in (
            ("hit ratio", "of requests", each.hit_ratio),
            ("requests at the origin", "of requests", each.origin_share),
            ("KV keys read a request", "keys", each.kv_keys),
            ("a million requests", "$", each.dollars),
        )
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of the traffic of an example; ``dollars`` are of the Worker's requests and of KV."""

    hit_ratio: float
    origin_share: float
    kv_keys: float
    dollars: float

    def __str__(self) -> str:
        return (
            f"{self.hit_ratio:.1%} hits, {self.origin_share:.1%} of the requests at the origin, "
            f"{self.kv_keys:.2f} KV keys read a request, ${self.dollars:.2f} a million requests"
        )


def measured(name: str, requests: int = _REQUESTS) -> Measured:
    """Run an example's traffic through the Worker's policy with its settings."""
    rate, traffic = TRAFFIC[name]
    chance, at_ms = random.Random(7), float(_START_MS)  # noqa: S311 - no secret
    edge = Edge(load(variables_of(name)), Assumptions(_LOCATIONS, _ISOLATES, purge_log=True))
    for _, (facts, fields, size_bytes) in zip(range(requests), traffic(chance), strict=False):
        at_ms += chance.expovariate(rate / 1000)
        client, target = f"client-{chance.randrange(_CLIENTS)}", str(facts.target)
        exchange = LoggedRequest(
            int(at_ms), client, facts.method, target, 200, size_bytes, response_fields=fields
        )
        edge.answer(exchange, facts, int(at_ms))
    counts = edge.ledger.overall
    return Measured(
        counts.hit_ratio,
        counts.origin_requests / counts.requests,
        counts.kv_reads / counts.requests,
        dollars(counts.usage) / counts.requests * 1e6,
    )


class _Popularity:
    """Draws numbers below ``count``: the first one most often, after Zipf's law."""

    def __init__(self, count: int) -> None:
        self._cumulated = list(accumulate(1 / (number + 1) for number in range(count)))

    def draw(self, chance: random.Random) -> int:
        return bisect(self._cumulated, chance.random() * self._cumulated[-1])


def _get(
    path: str, fields: Mapping[str, str] | None = None, token: CheckedToken | None = None
) -> RequestFacts:
    return RequestFacts("GET", parse_target(f"{_HOST}{path}"), fields or {}, token=token)


def _ads(chance: random.Random) -> Iterator[Asked]:
    slots, segments = _Popularity(50), _Popularity(20)
    while True:
        query = f"slot={slots.draw(chance)}&segment={segments.draw(chance)}&page={chance.randrange(10_000)}"
        yield _get(f"/decide?{query}"), {"cache-control": "public, max-age=10"}, 120


def _feed(chance: random.Random) -> Iterator[Asked]:
    pages = _Popularity(50)
    fields = {
        "cache-control": "public, max-age=30, stale-while-revalidate=300",
        "no-vary-search": 'key-order, params=("client" "build")',
        "etag": '"1"',
    }
    while True:
        client = chance.choice(("ios", "android"))
        query = f"page={pages.draw(chance)}&client={client}&build={chance.randrange(400, 440)}"
        yield _get(f"/feed?{query}"), fields, 22_000


_PRODUCT = "query Product($id: Int!) { product(id: $id) { id name } }"
_LIST = "query List($shelf: Int!) { products(shelf: $shelf) { id name } }"
_RENAME = "mutation Rename($id: Int!, $name: String!) { rename(id: $id, name: $name) { id name } }"
_JSON = {"content-type": "application/json"}


def _graphql(chance: random.Random) -> Iterator[Asked]:
    products, shelves = _Popularity(2000), _Popularity(40)
    while True:
        drawn = chance.random()
        if drawn < 0.02:
            query, variables = _RENAME, {"id": products.draw(chance)}
        elif drawn < 0.3:
            query, variables = _LIST, {"shelf": shelves.draw(chance)}
        else:
            query, variables = _PRODUCT, {"id": products.draw(chance)}
        body = json.dumps({"query": query, "variables": variables}).encode()
        key = content_key("POST", KeyBody.GRAPHQL, _JSON, body)
        content = Content(None, key.parts, key.is_write)
        fields = {**_JSON, "content-length": str(len(body))}
        target = parse_target(f"{_HOST}/graphql")
        yield RequestFacts("POST", target, fields, content=content), _JSON, 2500 if query is _LIST else 60


def _telemetry(chance: random.Random) -> Iterator[Asked]:
    devices = _Popularity(500)
    fields = {"cache-control": "public, max-age=5, stale-while-revalidate=10"}
    while True:
        yield _get(f"/devices/{devices.draw(chance)}/latest"), fields, 40


def _tenants(chance: random.Random) -> Iterator[Asked]:
    tenants, reports = _Popularity(30), _Popularity(100)
    while True:
        token = CheckedToken({"iss": "me", "tenant": f"tenant-{tenants.draw(chance)}"}, is_checked=True)
        request = _get(f"/reports/{reports.draw(chance)}", {"authorization": "Bearer …"}, token)
        yield request, {"cache-control": "private, max-age=60"}, 600


TRAFFIC: Mapping[str, tuple[float, Callable[[random.Random], Iterator[Asked]]]] = {
    "ads": (200.0, _ads),
    "feed": (200.0, _feed),
    "graphql": (200.0, _graphql),
    "telemetry": (200.0, _telemetry),
    "tenants": (200.0, _tenants),
}
"""By the name of an example: requests a second in the world, and what they are."""
