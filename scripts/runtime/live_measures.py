"""What `scripts/live` measures of a running edge, from where it runs: latencies, lags of purges, counts."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from origin_sdk import PurgeClient
from origin_sdk._edge.live import Answer
from origin_sdk._values.prices import PRICES, Usage, dollars
from origin_sdk.dashboard.board import usage
from origin_sdk.errors import OriginSdkError
from origin_sdk_wire.exposition import parse_document
from scripts.runtime.live_place import LiveError, Place

__all__ = ["Measured", "measure"]

_BEGIN_SECONDS = 120.0
_LAG_SECONDS = 120.0
"""More than the bound that holds without a purge log."""
_POLL_SECONDS = 0.05
_CONFIRMED = 3


@dataclass(slots=True)
class Measured:
    """Seconds of each kind, and counts."""

    location: str = ""
    misses: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    hit_share: float = 0.0
    purging: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    lost: int = 0
    untold: int = 0
    confirmed: list[float] = field(default_factory=list)
    used: Usage = field(default_factory=dict)
    log: str = ""

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield what to print."""
        yield "location", self.location or "-"
        yield "miss", _quantiles(self.misses, 1000, "ms")
        yield f"same URL again ({self.hit_share:.0%} hits)", _quantiles(self.hits, 1000, "ms")
        yield "sending a purge", _quantiles(self.purging, 1, "s")
        yield "from its end until seen here", _quantiles(self.lags, 1, "s")
        yield "purges not seen, and not told", f"{self.lost} and {self.untold}"
        yield "seen by all locations that read", _quantiles(self.confirmed, 1, "s")
        yield "counted by one isolate", _priced(self.used)
        yield "the log", self.log


def _quantiles(values: Sequence[float], scale: float, unit: str) -> str:
    if not values:
        return "-"
    ordered = sorted(value * scale for value in values)
    last = ordered[round(0.99 * (len(ordered) - 1))]
    median = statistics.median(ordered)
    return f"p50 {median:.2f}, p99 {last:.2f}, worst {ordered[-1]:.2f} {unit} of {len(ordered)}"


def _priced(used: Usage) -> str:
    units = ", ".join(f"{units:,.0f} {PRICES[name].what}" for name, units in used.items() if units)
    return f"{units or 'nothing'}: {dollars(used):.6f} dollars, with nothing included"


def measure(place: Place, requests: int, purges: int) -> Measured:
    """Measure; raises :class:`LiveError` if nothing answers."""
    found, run = Measured(), secrets.token_hex(4)
    with httpx.Client(base_url=place.url, timeout=30) as reader, PurgeClient(place.settings) as client:
        _begin(reader)
        found.misses = [_asked(reader, f"/{run}/miss/{number}").seconds for number in range(requests)]
        hits = [_asked(reader, f"/{run}/hit") for _ in range(requests)]
        found.hits = [answer.seconds for answer in hits]
        found.hit_share = sum(answer.is_hit for answer in hits) / requests
        found.location = hits[-1].location
        for number in range(purges):
            _purge(found, reader, client, f"/{run}/purged/{number}", is_confirmed=number < _CONFIRMED)
        _count(found, place, reader)
        try:
            state = "; ".join(
                f"{each.check}: {each.message}"
                for each in client.check(may_write=False)
                if each.check == "purge log"
            )
        except OriginSdkError as error:
            state = str(error)
        found.log = state
    return found


def _begin(reader: httpx.Client) -> None:
    deadline = time.monotonic() + _BEGIN_SECONDS
    while time.monotonic() < deadline:
        try:
            if reader.get("/begin").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise LiveError(f"{reader.base_url} doesn't answer after {_BEGIN_SECONDS:g} s")


def _asked(reader: httpx.Client, path: str) -> Answer:
    began = time.monotonic()
    response = reader.get(path)
    return Answer(response.status_code, response.headers, time.monotonic() - began)


def _purge(
    found: Measured, reader: httpx.Client, client: PurgeClient, path: str, *, is_confirmed: bool
) -> None:
    old = reader.get(path).text
    reader.get(path)
    began = time.monotonic()
    receipt = client.purge(groups=path[1:].replace("/", "-"), hard=True)
    ended = time.monotonic()
    found.purging.append(ended - began)
    found.untold += receipt.told is not True
    while reader.get(path).text == old:
        if time.monotonic() > ended + _LAG_SECONDS:
            found.lost += 1
            return
        time.sleep(_POLL_SECONDS)
    found.lags.append(time.monotonic() - ended)
    if is_confirmed:
        found.confirmed.append(client.wait_until_visible(receipt, timeout=_LAG_SECONDS).seconds)


def _count(found: Measured, place: Place, reader: httpx.Client) -> None:
    told = reader.get("/.edge-cache/metrics", headers={"Cache-Debug": place.debug_secret})
    if told.status_code != 200:
        return
    found.used = usage(parse_document(told.text).isolates[0].counts)
