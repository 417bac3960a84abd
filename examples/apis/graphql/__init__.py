"""A GraphQL API: queries by POST are cached, and a mutation purges what it changes."""

import re
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["NAMES", "app"]

NAMES = {number: f"product {number}" for number in range(2000)}
_FIELD = re.compile(r"\b(product|products|rename)\b\s*\(")
_SHELF = 50


def _resolved(field: str, variables: dict[str, Any]) -> Any:
    if field == "products":
        start = variables["shelf"] * _SHELF
        return [{"id": each, "name": NAMES[each]} for each in range(start, start + _SHELF)]
    number = variables["id"]
    if field == "rename":
        NAMES[number] = variables["name"]
    return {"id": number, "name": NAMES[number]}


async def _graphql(request: Request) -> JSONResponse:
    """Answer the three operations that this server knows; a real one has a library for all others."""
    asked = await request.json()
    found = _FIELD.search(asked.get("query", ""))
    try:
        field = found[1] if found else ""
        data = {field: _resolved(field, asked.get("variables") or {})}
    except (KeyError, TypeError):
        return JSONResponse({"data": None, "errors": [{"message": "can't be resolved"}]})
    fields = {"Cache-Group-Invalidation": f'"product-{data[field]["id"]}"'} if field == "rename" else {}
    return JSONResponse({"data": data}, headers=fields)


app = Starlette(routes=[Route("/graphql", _graphql, methods=["POST", "QUERY"])])
