"""A mobile API: large lists with ETags, whose clients say in the query who they are."""

import hashlib
import json

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["ITEMS", "app"]

ITEMS = [f"article {number}" for number in range(10_000)]
_PAGE = 200
_FIELDS = {
    "Cache-Control": "public, max-age=30, stale-while-revalidate=300",
    "No-Vary-Search": 'key-order, params=("client" "build")',
}


async def _feed(request: Request) -> Response:
    page = int(request.query_params.get("page", "0"))
    start = page * _PAGE
    rows = [
        {"id": start + at, "title": title, "text": title * 5}
        for at, title in enumerate(ITEMS[start : start + _PAGE])
    ]
    body = json.dumps({"page": page, "articles": rows}).encode()
    fields = {**_FIELDS, "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"'}
    if request.headers.get("if-none-match") == fields["ETag"]:
        return Response(status_code=304, headers=fields)
    return Response(body, headers=fields, media_type="application/json")


app = Starlette(routes=[Route("/feed", _feed)])
