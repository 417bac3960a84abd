"""Waiting in an event loop for what other threads and their event loops do."""

import asyncio
import contextlib

__all__ = ["LoopEvent", "has_ended"]


class LoopEvent:
    """An event of the running loop that any thread may set: the listener's, or that of another event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake who waits, whichever thread this is."""
        if _running_loop() is self._loop:
            self._event.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, so that nobody waits
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float | None) -> bool:
        """Wait, and say whether it was set in time."""
        if seconds is not None and seconds <= 0:
            return self._event.is_set()
        try:
            async with asyncio.timeout(seconds):
                return await self._event.wait()
        except TimeoutError:
            return False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a thread without one
        return None


async def has_ended(future: "asyncio.Future[object]", seconds: float | None) -> bool:
    """Wait for a load in the background, be it of another thread's event loop; say whether it has ended."""
    loop = future.get_loop()
    if loop is asyncio.get_running_loop():
        return bool((await asyncio.wait([future], timeout=seconds))[0])
    told = LoopEvent()
    with contextlib.suppress(RuntimeError):  # that loop is closed: nothing in it will end any more
        loop.call_soon_threadsafe(future.add_done_callback, lambda _: told.set())
    return await told.wait(seconds)
