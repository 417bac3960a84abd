"""The clock, waiting, and work that outlives a response."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from origin_sdk_edge.adapters import promises
from origin_sdk_edge.adapters.promises import Promised, deferred, drive
from origin_sdk_edge.adapters.turn import turn
from origin_sdk_edge.ports import Work

__all__ = ["JsSignal", "JsTiming", "WaitUntil", "epoch_ms"]


class JsSignal:
    """See :class:`origin_sdk_edge.ports.Signal`.

    A promise settles only in the request that made it, and never once that has ended: each that waits makes
    one of its own, which may be resolved from any other request.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: dict[int, Any] = {}

    async def wait(self, timeout_seconds: float | None) -> bool:
        """Wait until it is set."""
        if self._is_set:
            return True
        own = deferred()
        resolve = own.resolve
        self._waiting[id(own)] = resolve
        try:
            with suppress(TimeoutError):
                await Promised(own.promise, timeout_seconds, resolve)
        finally:
            self._waiting.pop(id(own), None)
        return self._is_set

    def set(self) -> None:
        """Let all that wait go on."""
        self._is_set = True
        waiting, self._waiting = self._waiting, {}
        for resolve in waiting.values():
            resolve()


_SLIP_MS = 1000
"""A clock that goes back further has been set: there is no telling which time was right."""
_latest_ms = 0


def epoch_ms() -> int:
    """Return the milliseconds since the epoch, which don't go back a little: the time of all in an isolate.

    The runtime's clock may be a millisecond behind what the request before saw. What came later must not seem
    to have come earlier: a purge would miss what was stored before it. Within a turn it stands still.
    """
    global _latest_ms  # noqa: PLW0603 - an isolate has one clock
    if turn.now_ms:
        return turn.now_ms
    now_ms = int(time.time() * 1000)
    if 0 < _latest_ms - now_ms < _SLIP_MS:
        now_ms = _latest_ms
    _latest_ms = now_ms
    if turn.is_on:
        turn.now_ms = now_ms
    return now_ms


class JsTiming:
    """See :class:`origin_sdk_edge.ports.Timing`."""

    def now_ms(self) -> int:
        """See :func:`epoch_ms`."""
        return epoch_ms()

    def signal(self) -> JsSignal:
        """Make a signal."""
        return JsSignal()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        with suppress(TimeoutError):
            # Not by `scheduler.wait`: its promise never settles once its request has ended.
            own = deferred()
            await Promised(own.promise, seconds, own.resolve)

    async def together(self, *work: Work) -> list[Any]:
        """Run all at once."""
        return await promises.together(*work)


class WaitUntil:
    """See :class:`origin_sdk_edge.ports.Background`."""

    def __init__(self, context: Any, report: Callable[[str, Exception], None]) -> None:
        self._context = context
        self._report = report

    def run(self, work: Work) -> None:
        """Start ``work`` once the response is made, and keep the request's context alive until it is done."""
        begun, ended = deferred(), deferred()
        self._context.waitUntil(ended.promise)

        def fail(error: Exception) -> None:
            self._report("background", error)
            ended.resolve()

        begun.resolve()
        drive(_after(Promised(begun.promise), work), lambda _: ended.resolve(), fail)


async def _after(begun: Promised, work: Work) -> None:
    await begun
    await work
