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
_FOR_EVER_SECONDS = 86_400.0


class JsSignal:
    """See :class:`edgecache.ports.Signal`.

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
        own = js.Promise.withResolvers()
        resolve = own.resolve
        self._waiting[id(own)] = resolve
        with suppress(TimeoutError):
            # A future, by asking a function for the promise.
            # The runtime ends a request long before that.
            seconds = _FOR_EVER_SECONDS if timeout_seconds is None else timeout_seconds
            await within(seconds, _resolve(own.promise), resolve)
        self._waiting.pop(id(own), None)
        return self._is_set

    def set(self) -> None:
        """Let all that wait go on."""
        self._is_set = True
        waiting, self._waiting = self._waiting, {}
        for resolve in waiting.values():
            resolve()


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

    async def together(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run all at once."""
        return await asyncio.gather(*work)


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

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        """Start ``work`` and keep the request's context alive until it is done."""
        resolvers = js.Promise.withResolvers()
        self._context.waitUntil(resolvers.promise)
        task = asyncio.ensure_future(self._finish(work, resolvers.resolve))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(self, work: Coroutine[Any, Any, object], resolve: Any) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            self._report("background", error)
        finally:
            resolve()
