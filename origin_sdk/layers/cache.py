"""The cache for threads."""

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from origin_sdk._flow import AnyStep, drive
from origin_sdk._process.reads import current_reads, open_readings, reading
from origin_sdk.layers.base_cache import BaseCache, CacheOptions, FamilyOptions, Invalidation
from origin_sdk.layers.cached_functions import CallSignature, Function
from origin_sdk.layers.edge import Purger, Records, purger
from origin_sdk.layers.process.load_graph import loading
from origin_sdk.layers.process.memory import MOST_USES, MemoryEntry
from origin_sdk.layers.process.orm_connections import like_a_request
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
from origin_sdk.layers.structures.handles import Fields, Members, Pages, Ranking
from origin_sdk.layers.traces import traced_load
from origin_sdk.layers.values.copies import Original
from origin_sdk.layers.values.families import AnyFamily, AnyKey, Key
from origin_sdk.layers.values.policy import SingleFlight

__all__ = ["Cached", "LayeredCache"]

if TYPE_CHECKING:
    from origin_sdk.layers.redis.client import RedisClient

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_Member = TypeVar("_Member", bound=Hashable)
_Arguments = ParamSpec("_Arguments")
_Others = ParamSpec("_Others")


class LayeredCache(BaseCache):
    """Memory, then Redis, then your loader; what it invalidates goes from the edge, too.

    ``redis`` is a URL or :class:`origin_sdk.layers.RedisOptions`, ``edge`` a purger or outbox.
    Thread-safe. Redis never makes a call fail: while it is away, it is left out.
    """

    loads_inline = True

    def __init__(
        self,
        redis: RedisOptions | str | None = None,
        *,
        edge: Purger | Records | None = None,
        **options: Unpack[CacheOptions],
    ) -> None:
        super().__init__(redis, options)
        self.edge = purger(edge)
        self._renew()

    def _renew(self) -> None:
        self._redis = self._redis_caller()
        # What asks Redis; rules ask only where there is one.
        self._client = cast("RedisClient", self._redis)
        self._pool = ThreadPoolExecutor(self.background.most, thread_name_prefix="origin_sdk.layers")

    def _redis_caller(self) -> "RedisClient | None":
        if self.link is None:
            return None
        from origin_sdk.layers.redis.client import RedisClient  # noqa: PLC0415 - imports redis, an extra

        return RedisClient(self.link)

    def renew(self) -> None:
        """Start over after a fork."""
        super().renew()
        self._renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for loads in the background and close all connections."""
        self._pool.shutdown(wait=True)
        self._stop_listening()
        if self._redis:
            self._redis.close()

    def get(self, key: Key[_Value], default: _Value | None = None) -> _Value | None:
        """Return what is stored in memory or Redis, if it may still be answered with, else ``default``."""
        return self._run(retrieval.get(self, key, default))

    def get_or_load(
        self,
        key: Key[_Value],
        loader: Callable[[LoadContext[_Value]], _Value],
        *,
        single_flight: SingleFlight | None = None,
    ) -> _Value:
        """Return what is stored, else what ``loader`` returns, which is stored.

        Raises what the loader raises, if nothing stored may stand in for it, and LoadTimeout.
        ``single_flight`` overrides the policy's for this call.
        """
        return self._run(retrieval.get_or_load(self, key, loader, single_flight))

    def get_many_or_load(
        self,
        keys: Iterable[Key[_Value]],
        loader: Callable[[Sequence[Key[_Value]]], Mapping[Key[_Value], _Value]],
        *,
        single_flight: SingleFlight | None = None,
    ) -> dict[Key[_Value], _Value]:
        """Return a value for each key, from one round trip to Redis and one call of ``loader`` for the rest.

        As with one key, no key is loaded twice: what others load is waited for, after ``loader`` has loaded
        what they don't. What it leaves out isn't in the result, nor stored. If it raises, so does this call,
        unless stored values may stand in. ``single_flight`` overrides the policies' for this call.
        """
        return self._run(batches.get_many_or_load(self, keys, loader, single_flight))

    def set(
        self, key: Key[_Value], value: _Value, *, lifetime: float | None = None, groups: Iterable[str] = ()
    ) -> None:
        """Write through: store a value that you know, and let loads under way not overwrite it."""
        self._run(writes.set_value(self, key, value, lifetime, groups))

    def delete(self, key: AnyKey) -> None:
        """Forget a value in all processes' memory and in Redis, and what loads under way return."""
        self._run(writes.delete(self, key))

    def invalidate(
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
        return self._run(writes.invalidate(self, groups, urls, at_edge=at_edge, is_soft=soft))

    def refresh(
        self,
        key: Key[_Value],
        loader: Callable[[LoadContext[_Value]], _Value],
        *,
        single_flight: SingleFlight | None = None,
    ) -> _Value:
        """Load now, whatever is stored, and store the result."""
        return self._run(retrieval.refresh(self, key, loader, single_flight))

    @overload
    def fields(
        self, key: Key[dict[_Member, _Value]], loader: Loader | None = None
    ) -> Fields[_Member, _Value]: ...
    @overload
    def fields(self, key: AnyKey, loader: Loader | None = None) -> Fields[str, Any]: ...
    def fields(self, key: AnyKey, loader: Loader | None = None) -> Fields[Any, Any]:
        """Return the fields of a key whose family is kept as a hash; ``loader`` loads the whole."""
        return Fields(self, self._run, key, loader)

    def members(self, key: AnyKey, loader: Loader | None = None) -> Members[Any]:
        """Return the members of a key whose family is kept as a set; ``loader`` loads the whole."""
        return Members(self, self._run, key, loader)

    def ranking(self, key: Key[dict[_Member, float]], loader: Loader | None = None) -> Ranking[_Member]:
        """Return what is ranked in a key whose family is a sorted set; ``loader`` loads the whole."""
        return Ranking(self, self._run, key, loader)

    def pages(self, key: Key[list[_Value]], loader: Loader | None = None) -> Pages[_Value]:
        """Return the pages of a list whose family is kept as a sorted set; ``loader`` loads the whole."""
        return Pages(self, self._run, key, loader)

    def cached(
        self, family: AnyFamily | str, *, ignore: Iterable[str] = (), **options: Unpack[FamilyOptions]
    ) -> "Callable[[Callable[_Arguments, _Value]], Cached[_Arguments, _Value]]":
        """Decorate a function with a family, or a key template over its parameters.

        Every parameter is in the key or in ``ignore``; one annotated as LoadContext is filled in.
        """

        def decorate(function: Callable[_Arguments, _Value]) -> Cached[_Arguments, _Value]:
            declared = Function(function, is_async=False)
            made = _decorated(self, declared, self.family_for(declared, family, options), ignore)
            return cast("Cached[_Arguments, _Value]", made)

        return decorate

    def spawn(self, flow: Flow[MemoryEntry | None]) -> Future[MemoryEntry | None]:
        """Run a flow in another thread."""
        try:
            future = self._pool.submit(copy_context().run, self._run_here, flow)
        except RuntimeError:  # the cache is closed
            flow.close()
            raise
        return future

    def new_future(self) -> Future[MemoryEntry | None]:
        """Return a future to be set by hand."""
        return Future()

    def _run_here(self, flow: Flow[_Result]) -> _Result:
        with like_a_request():
            return self._run(flow)

    def _run(self, flow: Flow[_Result]) -> _Result:
        """Carry out a flow's steps in this thread."""
        return drive(flow, self._do)

    def _do(self, step: AnyStep) -> object:  # noqa: PLR0911 - a table of steps
        match step:
            case Ask(command):
                return self._client.ask(command)
            case Follow(key, seconds):
                flight, ended = self.flights.join(key, Event)
                return flight, ended is None, ended is None or ended.wait(seconds)
            case Load(loader, argument, reads, node):
                with traced_load(argument), reading(reads), loading(node):
                    return loader(argument)
            case Await(future, seconds):
                return future.result() if wait([cast("Future[object]", future)], seconds).done else PENDING
            case AskMany(commands):
                return self._client.ask_many(commands)
            case Replicate(commands):
                return self._client.ask_replicated(commands)
            case FollowAll(flights, seconds):
                all_ended = Event()
                self.flights.when_all(flights, all_ended.set)
                return all_ended.wait(seconds)
            case Wait():
                return self._wait(step)
            case PurgeEdge(groups, urls):
                return self.edge.purge(groups=groups, urls=urls) if self.edge else None
            case _:
                raise TypeError(step)

    def _wait(self, step: Wait[object]) -> object:
        told = Event()
        with cast("Link", self.link).waiters.expecting(step.names, told.set):
            replies = self._client.ask_many(step.commands)
            told.wait(step.seconds_of(replies))
        return replies


class Cached(Protocol[_Arguments, _Value]):
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
        self: "Cached[Concatenate[Any, _Others], _Value]", instance: object, owner: type
    ) -> "Cached[_Others, _Value]": ...
    def __get__(self, instance: object | None, owner: type) -> object:
        """Return what is bound to an object: called through it, the function and its verbs get it."""
        ...

    def __call__(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Value:
        """Return the value."""
        ...

    def key(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Key[_Value]:
        """Return the key of a call."""
        ...

    def loader(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Loader:
        """Return what loads the value of a call."""
        ...

    def invalidate(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        """Forget the value of a call."""
        ...

    def refresh(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Value:
        """Load the value of a call now."""
        ...


def _decorated(cache: LayeredCache, function: Function, family: AnyFamily, ignore: Iterable[str]) -> object:
    cache.warn_of_kept(function, family, ignore)
    signature = CallSignature(function, family, ignore)
    lookup, moments, stats = cache.memory.get, cache.moments, cache.stats
    hits = stats.hits_of(family.name)
    monotonic, render = cache.judge.clock.monotonic, family.render
    arity, is_direct = signature.arity, signature.is_direct
    is_copied = cache.judge.families.policy_of(family).values == "copied"

    @functools.wraps(function.call)
    def cached(*args: object, **kwargs: object) -> Any:
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
        return cache.get_or_load(signature.key(args), signature.loader(args))

    vars(cached).update(signature.verbs(cache), family=family)
    return function.placed(cached)
