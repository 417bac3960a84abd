"""Coroutines of somebody else's, as tasks of asyncio's: they may wait for whatever Pyodide can.

A task that takes too long is left alone: one that is cancelled while it waits for JavaScript has wedged
isolates (https://github.com/cloudflare/workerd/issues/6624). What it waits for may never come, as its request
has ended, and it goes with that. So that what hangs for every request doesn't fill the memory, there is a
bound on how many are left within some seconds.
"""

import asyncio
from typing import Any

from origin_sdk_edge.adapters.promises import Promised, deferred
from origin_sdk_edge.ports import LateError, Work

__all__ = ["MOST_LEFT", "apart"]

MOST_LEFT = 32
"""So many that were late and still run; while there are as many, no other is begun."""
_LEFT_MS = 10_000
"""How long one counts."""
_left: dict["asyncio.Future[None]", int] = {}
"""When each that was late began."""


async def apart(work: Work, seconds: float, now_ms: int) -> Any:
    """Run a coroutine, which may use asyncio and the runtime's promises.

    Raises what it raises, and LateError if it takes longer than so many seconds: it then runs on, unheard.
    """
    for each in [each for each, began_ms in _left.items() if now_ms - began_ms > _LEFT_MS]:
        del _left[each]
    if len(_left) >= MOST_LEFT:
        work.close()
        raise LateError(f"{MOST_LEFT} earlier calls took longer than HOOK_TIMEOUT, and still run")
    ended = deferred()
    outcome: list[tuple[Any, BaseException | None]] = []

    async def run() -> None:
        try:
            outcome.append((await work, None))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it hears of it
            outcome.append((None, error))
        ended.resolve()

    task = asyncio.ensure_future(run())
    try:
        await Promised(ended.promise, seconds, ended.resolve)
    except TimeoutError as error:
        _left[task] = now_ms
        task.add_done_callback(lambda done: _left.pop(done, None))
        raise LateError(f"it took longer than HOOK_TIMEOUT = {seconds:g}") from error
    [(result, raised)] = outcome
    if raised is not None:
        raise raised
    return result
