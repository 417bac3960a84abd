"""The JavaScript that all adapters use. Each crossing of the border costs: what can be looked up once is.

At the top level of a module only what is found by name from the global object may be held: Cloudflare saves
the memory of a Worker after its imports, and refuses one that holds any other JavaScript object.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import JsException, create_once_callable

__all__ = ["entries_of", "fields_of", "from_json", "stringified_fields", "within"]

from_json = js.JSON.parse
"""Make a JavaScript value from JSON.

One crossing, where converting a Python value makes one for each of its parts.
"""

_stringify = js.JSON.stringify
_from_entries = js.Object.fromEntries
_set_timeout = js.setTimeout
_clear_timeout = js.clearTimeout
_LONGEST_MS = 2**31 - 1
"""JavaScript's timers take a longer time for none."""


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


async def within(
    seconds: float, result: "asyncio.Future[Any]", abort: Callable[[], object] | None = None
) -> Any:
    """Wait for what a JavaScript function promised; raises :class:`TimeoutError` after ``seconds``.

    Where ``abort`` is given, it must make the promise settle: one that never does keeps its future for ever.

    Such a result is a future already. Promise.race would make a promise of it again, and wait for that by a
    task of its own: three times the cost.
    """
    deadline = _Deadline(result, abort)
    # Not a promise of the timer's: it never settles once its request has ended, and keeps who waits for it.
    once: Any = create_once_callable(deadline.reach)
    timer = _set_timeout(once, min(int(seconds * 1000), _LONGEST_MS))
    try:
        found = await result
    except JsException as error:
        if deadline.ended_it:
            raise TimeoutError from error
        raise
    finally:
        if not deadline.is_reached:
            _clear_timeout(timer)
            once.destroy()
    if deadline.ended_it:
        raise TimeoutError
    return found


class _Deadline:
    """Ends the waiting for a result when its time is over."""

    __slots__ = ("_abort", "_result", "ended_it", "is_reached")

    def __init__(self, result: "asyncio.Future[Any]", abort: Callable[[], object] | None) -> None:
        self._result = result
        self._abort = abort
        self.is_reached = False
        self.ended_it = False

    def reach(self) -> None:
        self.is_reached = True
        if self._result.done():
            return
        self.ended_it = True
        if self._abort:
            self._abort()
        else:
            # Not an exception: who keeps the future would keep all the frames that saw it raised.
            self._result.set_result(None)
