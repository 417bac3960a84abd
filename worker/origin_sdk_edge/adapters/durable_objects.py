"""Asking a Durable Object."""

from typing import Any
from urllib.parse import parse_qs

from pyodide.ffi import JsException

from origin_sdk_edge.adapters.promises import promised, within
from origin_sdk_edge.ports import StoreError

__all__ = ["BASE", "ask_object", "read_query"]

BASE = "https://purge-log.invalid/"
"""RFC 6761 section 6.4: nobody has this name, so that a cache holds nothing else under it."""


async def ask_object(namespace: Any, name: str, path: str, options: Any, seconds: float) -> Any:
    """Return the response of the object of a name to a request; raises :class:`StoreError`."""
    # A stub belongs to the request that made it.
    stub = namespace.get(namespace.idFromName(name))
    try:
        response = await within(seconds, promised(stub.fetch, stub, BASE + path, options))
    except JsException as error:
        raise StoreError(f"{name} failed: {error}") from error
    except TimeoutError as error:
        raise StoreError(f"{name} took longer than {seconds:g} s") from error
    if response.status != 200:
        raise StoreError(f"{name} answered {response.status}")
    return response


def read_query(text: str) -> dict[str, str]:
    """Read what an object is asked, or answers, as ``urlencode`` writes it: each name once."""
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
