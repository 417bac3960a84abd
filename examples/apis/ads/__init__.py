"""An ad-decision API: an answer within a few dozen milliseconds, or the last one."""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["SLOWNESS", "app"]

SLOWNESS = {"seconds": 0.0}
"""How long the auction takes: a test, or you, may make it slow."""
_CONTROL = {"Cache-Control": "public, max-age=10"}


async def _decide(request: Request) -> JSONResponse:
    await asyncio.sleep(SLOWNESS["seconds"])
    slot, segment = (request.query_params.get(name, "") for name in ("slot", "segment"))
    return JSONResponse({"slot": slot, "creative": f"{segment}-{len(slot)}"}, headers=_CONTROL)


app = Starlette(routes=[Route("/decide", _decide)])
