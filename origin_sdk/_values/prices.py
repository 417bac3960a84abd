"""What Cloudflare charges, in dollars: the one table of prices. Read in 2026; ``docs/cost.md`` tells it.

https://developers.cloudflare.com/kv/platform/pricing/, …/workers/platform/pricing/ and
…/analytics/analytics-engine/pricing/.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PRICES", "Price", "Usage", "dollars"]

MONTH_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Price:
    """``dollars`` for ``per`` units; the paid plan includes ``included`` units a month."""

    what: str
    dollars: float
    per: float
    included: float

    def of(self, units: float) -> float:
        """Return the price of that many units, with nothing included."""
        return self.dollars * units / self.per

    def beyond_included(self, units: float) -> float:
        """Return the price of that many units in a month in which nothing else used up what is included."""
        return self.of(max(0.0, units - self.included))


_MILLION = 1e6
PRICES: Mapping[str, Price] = {
    "kv_reads": Price("KV keys read", 0.50, _MILLION, 10 * _MILLION),
    "kv_writes": Price("KV keys written", 5.00, _MILLION, _MILLION),
    "kv_deletes": Price("KV keys deleted", 5.00, _MILLION, _MILLION),
    "kv_lists": Price("KV lists", 5.00, _MILLION, _MILLION),
    "kv_gigabyte_months": Price("GB stored in KV for a month", 0.50, 1, 1),
    "requests": Price("Worker requests", 0.30, _MILLION, 10 * _MILLION),
    "points": Price("Analytics Engine points", 0.25, _MILLION, 10 * _MILLION),
}
"""By the name of what is used."""

Usage = Mapping[str, float]
"""Units by the names of :data:`PRICES`."""


def dollars(usage: Usage) -> float:
    """Return the price of ``usage`` in dollars, with nothing included."""
    return sum(PRICES[name].of(units) for name, units in usage.items())
