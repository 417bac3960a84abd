"""A GraphQL API: queries by POST are cached, and a mutation purges what it changes."""

import json
import random  # noqa: TID251 - traffic of a seed
import re
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.apis.model import Api, Asked, Popularity
from origin_sdk_edge.policy.facts import Content, RequestFacts
from origin_sdk_wire.content import content_key
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.rules import KeyBody

__all__ = ["API", "NAMES"]

NAMES = {number: f"product {number}" for number in range(2000)}
_FIELD = re.compile(r"\b(product|products|rename)\b\s*\(")
_PRODUCT = "query Product($id: Int!) { product(id: $id) { id name } }"
_LIST = "query List($shelf: Int!) { products(shelf: $shelf) { id name } }"
_RENAME = "mutation Rename($id: Int!, $name: String!) { rename(id: $id, name: $name) { id name } }"
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


_FIELDS = {"content-type": "application/json"}
_POPULARITY, _SHELVES = Popularity(2000), Popularity(40)


def _traffic(chance: random.Random) -> Iterator[Asked]:
    while True:
        drawn = chance.random()
        if drawn < 0.02:
            query, variables = _RENAME, {"id": _POPULARITY.draw(chance), "name": "new"}
        elif drawn < 0.3:
            query, variables = _LIST, {"shelf": _SHELVES.draw(chance)}
        else:
            query, variables = _PRODUCT, {"id": _POPULARITY.draw(chance)}
        body = json.dumps({"query": query, "variables": variables}).encode()
        key = content_key("POST", KeyBody.GRAPHQL, _FIELDS, body)
        fields = {**_FIELDS, "content-length": str(len(body))}
        content = Content(None, key.parts, key.is_write)
        target = parse_target("https://api.example.com/graphql")
        yield (
            RequestFacts("POST", target, fields, content=content),
            dict(_FIELDS),
            60 if "id" in variables else 2500,
        )


API = Api(
    "graphql", Starlette(routes=[Route("/graphql", _graphql, methods=["POST", "QUERY"])]), _traffic, rate=200
)
