"""The cache behind a backend: one in each process, used by threads and event loops."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from inspect import isawaitable
from threading import Lock
from typing import TypeVar, cast

from origin_sdk._flow import AnyStep, drive_async
from origin_sdk._process.reads import reading
from origin_sdk.layers.cache import LayeredCache
from origin_sdk.layers.process.flights import follow
from origin_sdk.layers.process.load_graph import loading
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.rules.steps import PENDING, Await, Flow, Follow, FollowAll, Load, Wait
from origin_sdk.layers.traces import traced_load

__all__ = ["SharedCache", "shared"]

_Result = TypeVar("_Result")
_Made = TypeVar("_Made")
_made: dict[tuple[int, str], object] = {}
_lock = Lock()


def shared(settings: str, make: Callable[[], _Made]) -> _Made:
    """Return what was made for these settings in this process: Django makes a backend for each thread.

    A process that was forked makes its own.
    """
    key = (os.getpid(), settings)
    with _lock:
        if key not in _made:
            _made[key] = make()
        return cast("_Made", _made[key])


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _Signal:
    """An event that a thread sets and a task waits for."""

    def __init__(self) -> None:
        self._future: Future[None] = Future()

    def set(self) -> None:
        with contextlib.suppress(InvalidStateError):  # told twice
            self._future.set_result(None)

    async def wait(self, seconds: float | None) -> bool:
        done, _ = await asyncio.wait([asyncio.wrap_future(self._future)], timeout=seconds)
        return bool(done)


class SharedCache(LayeredCache):
    """A cache for threads, which tasks may use as well: a thread asks Redis for them, they call loaders."""

    def run(self, flow: Flow[_Result]) -> _Result:
        """Run a flow in this thread."""
        return self._run(flow)

    async def arun(self, flow: Flow[_Result]) -> _Result:
        """Run a flow in this task."""
        return await drive_async(flow, self._ado)

    async def _ado(self, step: AnyStep) -> object:
        """Carry out a step. A thread is taken for what is short alone: waiting tasks could use them up."""
        match step:
            case Load(loader, argument, reads, node):
                with traced_load(argument), reading(reads), loading(node):
                    loaded = loader(argument)
                    return await loaded if isawaitable(loaded) else loaded
            case Follow(key, seconds):
                flight, ended = self.flights.join(key, _Signal)
                return flight, ended is None, ended is None or await follow(flight, ended, seconds)
            case FollowAll(flights, seconds):
                signal = _Signal()
                self.flights.when_all(flights, signal.set)
                return await signal.wait(seconds)
            case Await(future, seconds):
                done, _ = await asyncio.wait(
                    [asyncio.wrap_future(cast("Future[object]", future))], timeout=seconds
                )
                return future.result() if done else PENDING
            case Wait():
                return await self._await_others(step)
            case _:
                return await asyncio.to_thread(self._do, step)

    async def _await_others(self, step: Wait[object]) -> object:
        signal = _Signal()
        with cast("Link", self.link).waiters.expecting(step.names, signal.set):
            replies = await asyncio.to_thread(self._client.ask_many, step.commands)
            if (seconds := step.seconds_of(replies)) > 0:
                await signal.wait(seconds)
        return replies
