"""What an example consists of, and what its traffic costs: measured by the Worker's own policy."""

import random  # noqa: TID251 - one seed, the same traffic in each run
import tomllib
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from origin_sdk._values.prices import dollars
from origin_sdk.simulation.assumptions import Assumptions
from origin_sdk.simulation.edge import Edge
from origin_sdk.simulation.exchanges import Exchange
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.config import load

__all__ = ["Api", "Asked", "Measured", "Popularity", "moments"]

_FOLDER = Path(__file__).parent
_START_MS = 1_795_744_800_000
_LOCATIONS, _ISOLATES, _CLIENTS = 10, 2, 5_000
_SECRETS = dict.fromkeys(("TOKEN_SECRET", "ORIGIN_SECRET"), "")

Asked = tuple[RequestFacts, Mapping[str, str], int]
"""A request, the fields of the response that the application gives, and the bytes of its body."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of the traffic."""

    requests: int
    hit_ratio: float
    origin_share: float
    """Requests to the origin for each request of a client."""
    kv_keys: float
    dollars: float
    """For a million requests: the Worker's, and those of KV."""

    def __str__(self) -> str:
        return (
            f"{self.hit_ratio:.1%} hits, {self.origin_share:.1%} of the requests at the origin, "
            f"{self.kv_keys:.2f} KV keys read a request, ${self.dollars:.2f} a million requests"
        )


@dataclass(frozen=True)
class Api:
    """An example: ``traffic`` yields what it is asked, ``rate`` requests a second in the world."""

    name: str
    app: Starlette
    traffic: Callable[[random.Random], Iterator[Asked]]
    rate: float
    requests: int = 10_000

    @cached_property
    def variables(self) -> Mapping[str, Any]:
        """The Worker's variables, of ``edge.toml``."""
        read = tomllib.loads((_FOLDER / self.name / "edge.toml").read_text(encoding="utf-8"))
        variables: Mapping[str, Any] = read["vars"]
        return variables

    @property
    def readme(self) -> str:
        """Its README."""
        return (_FOLDER / self.name / "README.md").read_text(encoding="utf-8")

    def measure(self) -> Measured:
        """Run the traffic through the policy: ten locations, two isolates at each, from a cold start on."""
        chance = random.Random(7)  # noqa: S311 - no secret
        edge = Edge(load(self.variables), Assumptions(_LOCATIONS, _ISOLATES, purge_log=True))
        asked = zip(moments(chance, self.rate, self.requests), self.traffic(chance), strict=False)
        for now_ms, (facts, fields, size_bytes) in asked:
            client = f"client-{chance.randrange(_CLIENTS)}"
            target = str(facts.target)
            exchange = Exchange(now_ms, client, facts.method, target, 200, size_bytes, response_fields=fields)
            edge.answer(exchange, facts, now_ms)
        counts = edge.overall
        return Measured(
            round(counts.requests),
            counts.hit_ratio,
            counts.origin_requests / counts.requests,
            counts.kv_reads / counts.requests,
            dollars(counts.usage) / counts.requests * 1e6,
        )


class Popularity:
    """Draws numbers below ``count``: the first one most often, after Zipf's law."""

    def __init__(self, count: int) -> None:
        self._cumulated = list(accumulate(1 / (number + 1) for number in range(count)))

    def draw(self, chance: random.Random) -> int:
        """Draw a number."""
        return bisect(self._cumulated, chance.random() * self._cumulated[-1])


def moments(chance: random.Random, rate: float, requests: int) -> Iterator[int]:
    """Yield when requests come, in milliseconds."""
    at_ms = float(_START_MS)
    for _ in range(requests):
        at_ms += chance.expovariate(rate / 1000)
        yield int(at_ms)
