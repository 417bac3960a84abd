"""The least Python Worker that reads KV: what lies under the URL's last segment, handed on as a stream."""

from functools import cache
from typing import Any

from js import JSON, Response

_new_response = Response.new


@cache
def _prepared() -> tuple[Any, Any]:
    read = JSON.parse('{"type": "stream", "cacheTtl": 60}')
    return read, JSON.parse('{"headers": {"content-type": "application/json"}}')


async def _answer(url: str, env: Any) -> Any:
    read, init = _prepared()
    found = await env.CACHE.getWithMetadata("plain/" + url.rpartition("/")[2], read)
    return _new_response(found.value, init)


def on_fetch(request: Any, env: Any, ctx: Any) -> Any:  # noqa: ARG001 - the runtime's call
    """Answer."""
    return _answer(request.url, env)
