"""The cache for an event loop, with the verbs of :mod:`origin_sdk.layers.cache`."""

import asyncio
import functools
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from inspect import isawaitable
from threading import Lock
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from origin_sdk._flow import AnyStep, drive_async
from origin_sdk._process.reads import current_reads, open_readings, reading
from origin_sdk.layers.base_cache import BaseCache, CacheOptions, FamilyOptions, Invalidation
from origin_sdk.layers.cached_functions import CallSignature, Function
from origin_sdk.layers.edge import AsyncPurger, Records, async_purger
from origin_sdk.layers.process.background import BackgroundLoad
from origin_sdk.layers.process.flights import follow
from origin_sdk.layers.process.load_graph import loading
from origin_sdk.layers.process.loop_events import LoopEvent, has_ended
from origin_sdk.layers.process.memory import MOST_USES, MemoryEntry
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.options import RedisOptions
from origin_sdk.layers.rules import batches, retrieval, writes
from origin_sdk.layers.rules.load_context import LoadContext
from origin_sdk.layers.rules.loads import Loader
from origin_sdk.layers.rules.steps import (
    PENDING,
    Ask,
    AskMany,
    Await,
    Flow,
    Follow,
    FollowAll,
    Load,
    PurgeEdge,
    Replicate,
    Wait,
)
from origin_sdk.layers.structures.async_handles import AsyncFields, AsyncMembers, AsyncPages, AsyncRanking
from origin_sdk.layers.traces import traced_load
from origin_sdk.layers.values.copies import Original
from origin_sdk.layers.values.families import AnyFamily, AnyKey, Key
from origin_sdk.layers.values.policy import SingleFlight

__all__ = ["AsyncCached", "AsyncLayeredCache"]

if TYPE_CHECKING:
    from origin_sdk.layers.redis.async_client import AsyncRedisClient

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_Member = TypeVar("_Member", bound=Hashable)
_Arguments = ParamSpec("_Arguments")
_Others = ParamSpec("_Others")


class AsyncLayeredCache(BaseCache):
    """Memory, then Redis, then your loader; what it invalidates goes from the edge, too.

    ``redis`` is a URL or :class:`origin_sdk.layers.RedisOptions`, ``edge`` a purger or outbox. The
    tasks of an event loop may share it. Redis never makes a call fail: while it is away, it is left out.
    """

    loads_inline = False

    def __init__(
        self,
        redis: RedisOptions | str | None = None,
        *,
        edge: AsyncPurger | Records | None = None,
        **options: Unpack[CacheOptions],
    ) -> None:
        super().__init__(redis, options)
        self.edge = async_purger(edge)
        self._callers: dict[asyncio.AbstractEventLoop, _Caller] = {}
        """Connections to Redis by event loop: those of a loop that has ended answer nobody."""
        self._callers_lock = Lock()
        self._parents: list[object] = []
        """What a parent process goes on using: to end it here would end it there."""

    async def _caller(self) -> "AsyncRedisClient":
        """Return what asks Redis in the running event loop; it is closed as the loop ends."""
        loop = asyncio.get_running_loop()
        if found := self._callers.get(loop):
            return found.redis
        from origin_sdk.layers.redis.async_client import AsyncRedisClient  # noqa: PLC0415 - imports redis, an extra

        made = AsyncRedisClient(cast("Link", self.link))
        found = _Caller(made, self._closed_at_end(loop, made))
        with self._callers_lock:
            others = {other: of for other, of in self._callers.items() if not other.is_closed()}
            self._callers = {**others, loop: found}
        await anext(found.end)
        return made

    async def _closed_at_end(
        self, loop: asyncio.AbstractEventLoop, redis: "AsyncRedisClient"
    ) -> AsyncGenerator[None, None]:
        # asyncio.run, and whatever else ends a loop properly, closes its asynchronous generators.
        try:
            yield
        finally:
            with self._callers_lock:
                self._callers.pop(loop, None)
            await redis.aclose()

    def renew(self) -> None:
        """Start over after a fork."""
        super().renew()
        self._parents.append(self._callers)
        self._callers, self._callers_lock = {}, Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait for loads in the background and close all connections."""
        for each in list(self.background.under_way):
            if not self.is_lost(each):
                await has_ended(cast("asyncio.Future[object]", each), None)
        await asyncio.to_thread(self._stop_listening)
        if found := self._callers.get(asyncio.get_running_loop()):
            await found.end.aclose()

    async def get(self, key: Key[_Value], default: _Value | None = None) -> _Value | None:
        """Return what is stored in memory or Redis, if it may still be answered with, else ``default``."""
        return await self._run(retrieval.get(self, key, default))

    async def get_or_load(
        self,
        key: Key[_Value],
        loader: Callable[[LoadContext[_Value]], Awaitable[_Value]],
        *,
        single_flight: SingleFlight | None = None,
    ) -> _Value:
        """Return what is stored, else what ``loader`` returns, which is stored.

        Raises what the loader raises, if nothing stored may stand in for it, and LoadTimeout.
        ``single_flight`` overrides the policy's for this call.
        """
        return await self._run(retrieval.get_or_load(self, key, loader, single_flight))

    async def get_many_or_load(
        self,
        keys: Iterable[Key[_Value]],
        loader: Callable[[Sequence[Key[_Value]]], Awaitable[Mapping[Key[_Value], _Value]]],
        *,
        single_flight: SingleFlight | None = None,
    ) -> dict[Key[_Value], _Value]:
        """Return a value for each key, from one round trip to Redis and one call of ``loader`` for the rest.

        As with one key, no key is loaded twice: what others load is waited for, after ``loader`` has loaded
        what they don't. What it leaves out isn't in the result, nor stored. If it raises, so does this call,
        unless stored values may stand in. ``single_flight`` overrides the policies' for this call.
        """
        return await self._run(batches.get_many_or_load(self, keys, loader, single_flight))

    async def set(
        self, key: Key[_Value], value: _Value, *, lifetime: float | None = None, groups: Iterable[str] = ()
    ) -> None:
        """Write through: store a value that you know, and let loads under way not overwrite it."""
        await self._run(writes.set_value(self, key, value, lifetime, groups))

    async def delete(self, key: AnyKey) -> None:
        """Forget a value in all processes' memory and in Redis, and what loads under way return."""
        await self._run(writes.delete(self, key))

    async def invalidate(
        self,
        *,
        groups: Iterable[str],
        urls: Iterable[str] = (),
        at_edge: bool = True,
        soft: bool = False,
    ) -> Invalidation:
        """Invalidate groups in all processes' memory, in Redis and at the edge; ``urls`` at the edge alone.

        With ``soft``, values count as stale instead of gone: they are answered with for as long as their
        policy's ``stale`` says, while they are loaded again.

        Raises what the edge's purger raises; memory and Redis are done then. ``at_edge=False`` leaves the
        edge out.
        """
        return await self._run(writes.invalidate(self, groups, urls, at_edge=at_edge, is_soft=soft))

    async def refresh(
        self,
        key: Key[_Value],
        loader: Callable[[LoadContext[_Value]], Awaitable[_Value]],
        *,
        single_flight: SingleFlight | None = None,
    ) -> _Value:
        """Load now, whatever is stored, and store the result."""
        return await self._run(retrieval.refresh(self, key, loader, single_flight))

    @overload
    def fields(
        self, key: Key[dict[_Member, _Value]], loader: Loader | None = None
    ) -> AsyncFields[_Member, _Value]: ...
    @overload
    def fields(self, key: AnyKey, loader: Loader | None = None) -> AsyncFields[str, Any]: ...
    def fields(self, key: AnyKey, loader: Loader | None = None) -> AsyncFields[Any, Any]:
        """Return the fields of a key whose family is kept as a hash; ``loader`` loads the whole."""
        return AsyncFields(self, self._run, key, loader)

    def members(self, key: AnyKey, loader: Loader | None = None) -> AsyncMembers[Any]:
        """Return the members of a key whose family is kept as a set; ``loader`` loads the whole."""
        return AsyncMembers(self, self._run, key, loader)

    def ranking(self, key: Key[dict[_Member, float]], loader: Loader | None = None) -> AsyncRanking[_Member]:
        """Return what is ranked in a key whose family is a sorted set; ``loader`` loads the whole."""
        return AsyncRanking(self, self._run, key, loader)

    def pages(self, key: Key[list[_Value]], loader: Loader | None = None) -> AsyncPages[_Value]:
        """Return the pages of a list whose family is kept as a sorted set; ``loader`` loads the whole."""
        return AsyncPages(self, self._run, key, loader)

    def cached(
        self, family: AnyFamily | str, *, ignore: Iterable[str] = (), **options: Unpack[FamilyOptions]
    ) -> "Callable[[Callable[_Arguments, Awaitable[_Value]]], AsyncCached[_Arguments, _Value]]":
        """Decorate a function with a family, or a key template over its parameters.

        Every parameter is in the key or in ``ignore``; one annotated as LoadContext is filled in.
        """

        def decorate(function: Callable[_Arguments, Awaitable[_Value]]) -> AsyncCached[_Arguments, _Value]:
            declared = Function(function, is_async=True)
            made = _decorated(self, declared, self.family_for(declared, family, options), ignore)
            return cast("AsyncCached[_Arguments, _Value]", made)

        return decorate

    def spawn(self, flow: Flow[MemoryEntry | None]) -> asyncio.Task[MemoryEntry | None]:
        """Run a flow in another task."""
        task = asyncio.create_task(self._run(flow))
        task.add_done_callback(lambda _: flow.close())  # a task may be cancelled before it begins
        return task

    def new_future(self) -> asyncio.Future[MemoryEntry | None]:
        """Return a future to be set by hand."""
        return asyncio.get_running_loop().create_future()

    def is_lost(self, future: BackgroundLoad) -> bool:
        """Whether a future is of a loop that was closed before it ended."""
        return cast("asyncio.Future[object]", future).get_loop().is_closed()

    def _run(self, flow: Flow[_Result]) -> Coroutine[object, None, _Result]:
        """Carry out a flow's steps in this task."""
        return drive_async(flow, self._do)

    async def _do(self, step: AnyStep) -> object:  # noqa: PLR0911 - a table of steps
        match step:
            case Ask(command):
                found = self._callers.get(asyncio.get_running_loop())
                return await (found.redis if found else await self._caller()).ask(command)
            case Follow(key, seconds):
                flight, ended = self.flights.join(key, LoopEvent)
                return flight, ended is None, ended is None or await follow(flight, ended, seconds)
            case Load(loader, argument, reads, node):
                with traced_load(argument), reading(reads), loading(node):
                    loaded = loader(argument)
                    return await loaded if isawaitable(loaded) else loaded
            case Await(future, seconds):
                is_over = await has_ended(cast("asyncio.Future[object]", future), seconds)
                return future.result() if is_over else PENDING
            case AskMany(commands):
                return await (await self._caller()).ask_many(commands)
            case Replicate(commands):
                return await (await self._caller()).ask_replicated(commands)
            case FollowAll(flights, seconds):
                all_ended = LoopEvent()
                self.flights.when_all(flights, all_ended.set)
                return await all_ended.wait(seconds)
            case Wait():
                return await self._wait(step)
            case PurgeEdge(groups, urls):
                return await self.edge.purge(groups=groups, urls=urls) if self.edge else None
            case _:
                raise TypeError(step)

    async def _wait(self, step: Wait[object]) -> object:
        told, redis = LoopEvent(), await self._caller()
        with cast("Link", self.link).waiters.expecting(step.names, told.set):
            replies = await redis.ask_many(step.commands)
            await told.wait(step.seconds_of(replies))
        return replies


@dataclass(frozen=True, slots=True)
class _Caller:
    redis: "AsyncRedisClient"
    end: AsyncGenerator[None, None]


class AsyncCached(Protocol[_Arguments, _Value]):
    """A decorated function. Called, it returns the stored value, or loads it.

    ``family`` is its family; the methods take the function's own arguments: ``key`` returns the key,
    ``invalidate`` forgets the value in all layers, ``refresh`` loads now and returns the value, ``loader``
    returns what loads it, for :meth:`fields` and the like.
    """

    family: AnyFamily

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: "AsyncCached[Concatenate[Any, _Others], _Value]", instance: object, owner: type
    ) -> "AsyncCached[_Others, _Value]": ...
    def __get__(self, instance: object | None, owner: type) -> object:
        """Return what is bound to an object: called through it, the function and its verbs get it."""
        ...

    def __call__(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Awaitable[_Value]:
        """Return the value."""
        ...

    def key(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Key[_Value]:
        """Return the key of a call."""
        ...

    def loader(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Loader:
        """Return what loads the value of a call."""
        ...

    def invalidate(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Awaitable[None]:
        """Forget the value of a call."""
        ...

    def refresh(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Awaitable[_Value]:
        """Load the value of a call now."""
        ...


def _decorated(
    cache: AsyncLayeredCache, function: Function, family: AnyFamily, ignore: Iterable[str]
) -> object:
    cache.warn_of_kept(function, family, ignore)
    signature = CallSignature(function, family, ignore)
    lookup, moments, stats = cache.memory.get, cache.moments, cache.stats
    hits = stats.hits_of(family.name)
    monotonic, render = cache.judge.clock.monotonic, family.render
    arity, is_direct = signature.arity, signature.is_direct
    is_copied = cache.judge.families.policy_of(family).values == "copied"

    @functools.wraps(function.call)
    async def cached(*args: object, **kwargs: object) -> Any:
        if kwargs or len(args) != arity:
            args = signature.normal(args, kwargs)
        entry = lookup(render(*args) if is_direct else render(*signature.picked(args)))
        # What Judge.peek says of a fresh value, without a call.
        if entry and entry.seq == moments.seq and monotonic() < entry.until and not stats.detections:
            if entry.used < MOST_USES:
                entry.used += 1
            hits.count += 1
            if open_readings and (reads := current_reads()) is not None:
                reads.add(cache, family, entry.written_groups, is_stale=entry.windows.is_soft)
            return entry.value.copy() if is_copied and type(entry.value) is Original else entry.value
        return await cache.get_or_load(signature.key(args), signature.loader(args))

    vars(cached).update(signature.verbs(cache), family=family)
    return function.placed(cached)
