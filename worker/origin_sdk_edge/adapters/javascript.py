"""The JavaScript that all adapters use. Each crossing of the border costs: what can be looked up once is.

At the top level of a module only what is found by name from the global object may be held: Cloudflare saves
the memory of a Worker after its imports, and refuses one that holds any other JavaScript object.
"""

import json
from typing import Any

import js

__all__ = ["entries_of", "fields_of", "from_json", "stringified_fields"]

from_json = js.JSON.parse
"""Make a JavaScript value from JSON.

One crossing, where converting a Python value makes one for each of its parts.
"""

_stringify = js.JSON.stringify
_from_entries = js.Object.fromEntries


def stringified_fields(headers: Any) -> str:
    """Return a Headers object as the JSON text of one object, names in lower case."""
    text: str = _stringify(_from_entries(headers))
    return text


def entries_of(pairs: Any) -> dict[str, Any]:
    """Return what can be iterated as pairs, such as a Map, as a dictionary of JSON values."""
    entries: dict[str, Any] = json.loads(_stringify(_from_entries(pairs)))
    return entries


def fields_of(headers: Any) -> dict[str, str]:
    """Return a Headers object as a dictionary, names in lower case; of Set-Cookie only the last."""
    fields: dict[str, str] = json.loads(stringified_fields(headers))
    return fields
