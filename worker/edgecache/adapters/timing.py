"""The clock, waiting, and work that outlives a response."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import js

from edgecache.adapters.javascript import within

__all__ = ["JsSignal", "JsTiming", "WaitUntil"]

_resolve = js.Promise.resolve


class JsSignal:
    """See :class:`edgecache.ports.Signal`.

    A JavaScript promise: a Python future may not be shared between requests.
    """

    def __init__(self) -> None:
        resolvers = js.Promise.withResolvers()
        self._promise = resolvers.promise
        self._resolve = resolvers.resolve
        self._is_set = False

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is set."""
        with suppress(TimeoutError):
            # A future of this request's own, by asking a function for the promise.
            await within(timeout_seconds, _resolve(self._promise))
        return self._is_set

    def set(self) -> None:
        """Let all that wait go on."""
        self._is_set = True
        self._resolve()


class JsTiming:
    """See :class:`edgecache.ports.Timing`."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(time.time() * 1000)

    def signal(self) -> JsSignal:
        """Make a signal."""
        return JsSignal()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await js.scheduler.wait(int(seconds * 1000))


class WaitUntil:
    """See :class:`edgecache.ports.Background`."""

    _running: ClassVar[set["asyncio.Task[None]"]] = set()

    def __init__(self, context: Any, report: Callable[[str, Exception], None]) -> None:
        self._context = context
        self._report = report

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the request's context alive meanwhile, even if its client goes away.

        A task that is cut off would wait for ever, and keep what it holds.
        """
        resolvers = js.Promise.withResolvers()
        self._context.waitUntil(resolvers.promise)
        try:
            yield
        finally:
            resolvers.resolve()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start ``work`` and keep the request's context alive until it is done."""
        resolvers = js.Promise.withResolvers()
        self._context.waitUntil(resolvers.promise)
        task = asyncio.ensure_future(self._finish(work, resolvers.resolve))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(self, work: Coroutine[Any, Any, None], resolve: Any) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            self._report("background", error)
        finally:
            resolve()
