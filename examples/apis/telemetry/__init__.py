"""An IoT telemetry read API: many small hot keys, fresh to a few seconds."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["READINGS", "app"]

READINGS: dict[int, float] = {}
_CONTROL = {"Cache-Control": "public, max-age=5, stale-while-revalidate=10"}


async def _latest(request: Request) -> JSONResponse:
    number = request.path_params["number"]
    return JSONResponse({"device": number, "celsius": READINGS.get(number, 20.0)}, headers=_CONTROL)


async def _report(request: Request) -> Response:
    """Take a reading, which devices send past the edge: readers see it five seconds later at most."""
    READINGS[request.path_params["number"]] = (await request.json())["celsius"]
    return Response(status_code=204)


_ROUTES = [
    Route("/devices/{number:int}/latest", _latest),
    Route("/devices/{number:int}", _report, methods=["PUT"]),
]
app = Starlette(routes=_ROUTES)
