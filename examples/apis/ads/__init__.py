"""An ad-decision API: an answer within a few dozen milliseconds, or the last one."""

import asyncio
import random  # noqa: TID251 - traffic of a seed
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.apis.model import Api, Asked, Popularity
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.key import parse_target

__all__ = ["API", "SLOWNESS"]

SLOWNESS = {"seconds": 0.0}
"""How long the auction takes: a test, or you, may make it slow."""
_CONTROL = {"Cache-Control": "public, max-age=10"}


async def _decide(request: Request) -> JSONResponse:
    await asyncio.sleep(SLOWNESS["seconds"])
    slot, segment = (request.query_params.get(name, "") for name in ("slot", "segment"))
    return JSONResponse({"slot": slot, "creative": f"{segment}-{len(slot)}"}, headers=_CONTROL)


_SLOTS, _SEGMENTS = Popularity(50), Popularity(20)


def _traffic(chance: random.Random) -> Iterator[Asked]:
    fields = {"cache-control": _CONTROL["Cache-Control"]}
    while True:
        query = f"slot={_SLOTS.draw(chance)}&segment={_SEGMENTS.draw(chance)}&page={chance.randrange(10_000)}"
        yield RequestFacts("GET", parse_target(f"https://api.example.com/decide?{query}"), {}), fields, 120


API = Api("ads", Starlette(routes=[Route("/decide", _decide)]), _traffic, rate=1000)
