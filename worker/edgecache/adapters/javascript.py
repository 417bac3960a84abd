"""The JavaScript that all adapters use. Each crossing of the border costs: what can be looked up once is.

At the top level of a module only what is found by name from the global object may be held: Cloudflare saves
the memory of a Worker after its imports, and refuses one that holds any other JavaScript object.
"""

import json
from typing import Any

import js
from pyodide.ffi import to_js

__all__ = ["fields_of", "first_of", "from_json", "stringified_fields"]

from_json = js.JSON.parse
"""Make a JavaScript value from JSON.

One crossing, where converting a Python value makes one for each of its parts.
"""

_stringify = js.JSON.stringify
_from_entries = js.Object.fromEntries
_race = js.Promise.race
_wait = js.scheduler.wait


def stringified_fields(headers: Any) -> str:
    """Return a Headers object as the JSON text of one object, names in lower case."""
    text: str = _stringify(_from_entries(headers))
    return text


def fields_of(headers: Any) -> dict[str, str]:
    """Return a Headers object as a dictionary, names in lower case; of Set-Cookie only the last."""
    fields: dict[str, str] = json.loads(stringified_fields(headers))
    return fields


async def first_of(promise: Any, seconds: float) -> Any:
    """Wait for ``promise``.

    Return ``None``, which is JavaScript's undefined, if it takes longer than ``seconds``.
    """
    return await _race(to_js([promise, _wait(int(seconds * 1000))]))
