"""A Worker for the tests of the harness: it tells what it has, reads and writes KV, and relays the rest."""

import json

import js
from answers import text
from pyodide.ffi import to_js


def on_fetch(request, env, ctx):
    """Answer what needs no waiting, and return a coroutine for the rest."""
    url = js.URL.new(request.url)
    if url.pathname == "/env":
        return text(json.dumps({"GREETING": env.GREETING, "RULES": env.RULES.to_py()}))
    if url.pathname == "/kv":
        return _kv(request.method, url.searchParams, env.CACHE)
    return js.fetch(env.ORIGIN + url.pathname + url.search, request)


async def _kv(method, parameters, store):
    key = parameters.get("key")
    try:
        if method == "PUT":
            await store.put(key, parameters.get("value"))
            return text("stored")
        value = await store.get(key, to_js({"cacheTtl": 30}, dict_converter=js.Object.fromEntries))
    except Exception as error:  # noqa: BLE001 - the test asks what the binding raises
        return text(f"{error}")
    return text("missing" if value is js.JSON.parse("null") else value)
