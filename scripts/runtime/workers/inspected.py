"""The Worker, with a path of its own at which it tells what its isolate holds."""

import asyncio
import gc
import json
from collections import Counter
from typing import Any

import js
import pyodide_js

import entry

PATH = "/inspect-the-isolate"


def on_fetch(request: Any, env: Any, ctx: Any) -> Any:
    """Answer as the Worker does, or tell what is held."""
    if PATH not in request.url:
        return entry.on_fetch(request, env, ctx)
    return js.Response.new(json.dumps(_held()))


def _held() -> dict[str, object]:
    gc.collect()
    gc.collect()
    js.gc()
    found = gc.get_objects()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in found)
    futures = [each for each in found if isinstance(each, asyncio.Future)]
    return {
        "objects": len(found),
        "pending_futures": sum(not future.done() for future in futures),
        "wasm_bytes": pyodide_js._module.HEAP8.byteLength,  # noqa: SLF001 - nothing public tells it
        "types": dict(types),
    }
