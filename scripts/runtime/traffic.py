"""Gentle traffic for the demo, so that there is something to look at: mostly reads, and a write now and then.

It has a host of its own, so that what one tries by hand starts from nothing, and can be told apart.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from secrets import SystemRandom
from urllib.parse import urlencode, urlsplit

import httpx

HOST = "shop.localhost"
"""Names below localhost are this machine (RFC 6761)."""
_FIRST_PRODUCT, _PRODUCTS = 18, 400
_WRITE_SECONDS = 12.0
_TIMEOUT_SECONDS = 30.0
_CATEGORIES = ("tea", "kitchen", "toys", "garden", "books")
_WORDS = ("copper kettle", "green tea", "wooden horse", "lamp", "notebook", "basket", "blue cup")

_chance = SystemRandom()


def _product() -> int:
    """Return a product: a few are asked for often, most seldom."""
    return _FIRST_PRODUCT + min(_PRODUCTS - 1, int(_chance.paretovariate(0.9)) - 1)


def _paths() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield paths with request fields, for ever, as the clients of a shop would ask for them."""
    while True:
        kind = _chance.random()
        fields: dict[str, str] = {}
        if kind < 0.62:
            path = f"/products/{_product()}"
        elif kind < 0.78:
            query = {"category": _chance.choice(_CATEGORIES), "page": str(1 + int(_chance.expovariate(0.8)))}
            path = f"/products?{urlencode(query)}"
        elif kind < 0.88:
            path = f"/search?{urlencode({'q': _chance.choice(_WORDS)})}"
        elif kind < 0.92:
            path, fields = "/categories", {"Accept-Language": _chance.choice(("en", "de"))}
        elif kind < 0.95:
            path = f"/products/{_product()}/image.png"
        elif kind < 0.975:
            path, fields = "/me", {"Authorization": f"Bearer demo-{_chance.choice(('alice', 'bob'))}"}
        elif kind < 0.99:
            path = "/products/9999"
        else:
            path = "/health"
        yield path, fields


def run(edge: str, origin: str, rate: float) -> None:
    """Ask until a signal comes; what fails is asked again later."""
    next_write = time.monotonic() + _WRITE_SECONDS
    host = f"{HOST}:{urlsplit(edge).port}"
    with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        for path, fields in _paths():
            try:
                client.get(f"{edge}{path}", headers={"Host": host, **fields})
                if time.monotonic() >= next_write:
                    next_write = time.monotonic() + _chance.expovariate(1 / _WRITE_SECONDS)
                    price = {"price_cents": _chance.randrange(500, 9000)}
                    client.patch(f"{origin}/products/{_product()}", json=price)
            except httpx.HTTPError:
                time.sleep(1.0)
            time.sleep(_chance.expovariate(rate))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m scripts.runtime.traffic", description=__doc__)
    parser.add_argument("edge", help="the Worker's URL")
    parser.add_argument("origin", help="the demo origin's URL, where prices change")
    parser.add_argument("--rate", type=float, default=4.0, help="requests a second (default: %(default)s)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        run(given.edge, given.origin, given.rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
