"""An IoT telemetry read API: many small hot keys, fresh to a few seconds."""

import random  # noqa: TID251 - traffic of a seed
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.apis.model import Api, Asked, Popularity
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.key import parse_target

__all__ = ["API", "READINGS"]

READINGS: dict[int, float] = {}
_CONTROL = {"Cache-Control": "public, max-age=5, stale-while-revalidate=10"}


async def _latest(request: Request) -> JSONResponse:
    number = request.path_params["number"]
    return JSONResponse({"device": number, "celsius": READINGS.get(number, 20.0)}, headers=_CONTROL)


async def _report(request: Request) -> Response:
    """Take a reading, which devices send past the edge: readers see it five seconds later at most."""
    READINGS[request.path_params["number"]] = (await request.json())["celsius"]
    return Response(status_code=204)


_DEVICES = Popularity(2000)


def _traffic(chance: random.Random) -> Iterator[Asked]:
    fields = {"cache-control": _CONTROL["Cache-Control"]}
    while True:
        target = parse_target(f"https://api.example.com/devices/{_DEVICES.draw(chance)}/latest")
        yield RequestFacts("GET", target, {}), fields, 40


_ROUTES = [
    Route("/devices/{number:int}/latest", _latest),
    Route("/devices/{number:int}", _report, methods=["PUT"]),
]
API = Api("telemetry", Starlette(routes=_ROUTES), _traffic, rate=2000)
