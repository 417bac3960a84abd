"""Django's cache over the layers.

::

    CACHES = {
        "default": {
            "BACKEND": "origin_sdk.layers.django.LayeredBackend",
            "LOCATION": "rediss://user:password@redis.example.com/0",
        }
    }

Needs ``pip install origin-sdk[layers,django]``.
"""

import logging
import os
from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.exceptions import ImproperlyConfigured

from origin_sdk._values.texts import texts
from origin_sdk.layers.base_cache import Invalidation
from origin_sdk.layers.cache import LayeredCache
from origin_sdk.layers.django.setup import Parts, make
from origin_sdk.layers.django.shared_cache import shared
from origin_sdk.layers.errors import UnreadableRecord, UnsupportedValue
from origin_sdk.layers.key_value import FOREVER_SECONDS
from origin_sdk.layers.rules import writes
from origin_sdk.layers.values.families import Key

__all__ = ["LayeredBackend"]

_log = logging.getLogger("origin_sdk.layers")
_Key = TypeVar("_Key")


class LayeredBackend(BaseCache):
    """The whole contract of Django's caches, and groups: ``set(…, groups=[…])``, ``invalidate(groups=[…])``.

    Redis is the authority at ``LOCATION``; without one this process's memory is. Redis never makes a call
    fail: without it, ``get`` misses and ``set`` is dropped, ``add`` returns False and ``incr`` raises
    ValueError as for a key that is missing. Values come back as themselves, without pickle; one that would
    not raises :class:`origin_sdk.layers.values.messagepack.UnsupportedValue`.
    """

    def __init__(self, server: str | list[str] | tuple[str, ...], params: Mapping[str, Any]) -> None:
        super().__init__(params)
        if not isinstance(server, str):
            raise ImproperlyConfigured(
                f"CACHES: LOCATION {server!r}: one URL is needed, such as "
                "redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379"
            )
        options = params.get("OPTIONS", {})
        self._settings = repr((server, self.key_prefix, sorted(options.items())))
        self._make = partial(make, server, self.key_prefix, options)
        self._own = (os.getpid(), shared(self._settings, self._make))

    @property
    def _parts(self) -> Parts:
        if self._own[0] != os.getpid():
            self._own = (os.getpid(), shared(self._settings, self._make))
        return self._own[1]

    @property
    def layers(self) -> LayeredCache:
        """The cache below, for metrics and the ``detect`` block."""
        return self._parts.cache

    def _key(self, key: object, version: int | None) -> Key[bytes]:
        return self._parts.values.key(self.make_and_validate_key(key, version=version))

    def _seconds(self, timeout: float | object | None) -> float:
        """Return a lifetime; 0 or less stores nothing."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return FOREVER_SECONDS if timeout is None else min(float(timeout), FOREVER_SECONDS)  # type: ignore[arg-type]

    def _encoded(self, value: object) -> bytes | None:
        """Return bytes, or None for what is skipped instead of refused."""
        parts = self._parts
        try:
            return parts.tagging.encode(value)
        except UnsupportedValue as error:
            if not parts.skips:
                raise
            _log.warning("not cached: %s", error)
            return None

    def _decoded(self, data: bytes | None, default: object) -> object:
        if data is None:
            return default
        try:
            return self._parts.tagging.decode(data)
        except UnreadableRecord as error:
            _log.warning("counts as a miss: %s", error)
            return default

    # Each verb is one flow, run by a thread or by a task.

    async def _get(self, key: object, default: object, version: int | None) -> object:
        name = self._key(key, version)
        found = await self._parts.values.get_many([name])
        return self._decoded(found.get(name), default)

    def get(self, key: object, default: object = None, version: int | None = None) -> Any:
        """Return a value, or ``default``."""
        return self._parts.cache.run(self._get(key, default, version))

    async def aget(self, key: object, default: object = None, version: int | None = None) -> Any:
        """See get()."""
        return await self._parts.cache.arun(self._get(key, default, version))

    async def _get_many(self, keys: Iterable[_Key], version: int | None) -> dict[_Key, object]:
        names = {key: self._key(key, version) for key in keys}
        found = await self._parts.values.get_many(list(dict.fromkeys(names.values())))
        values = {key: self._decoded(found.get(name), self._missing_key) for key, name in names.items()}
        return {key: value for key, value in values.items() if value is not self._missing_key}

    def get_many(self, keys: Iterable[_Key], version: int | None = None) -> dict[_Key, Any]:
        """Return what is there, from one round trip."""
        return self._parts.cache.run(self._get_many(keys, version))

    async def aget_many(self, keys: Iterable[_Key], version: int | None = None) -> dict[_Key, Any]:
        """See get_many()."""
        return await self._parts.cache.arun(self._get_many(keys, version))

    def has_key(self, key: object, version: int | None = None) -> bool:
        """Return whether there is a value."""
        return self.get(key, self._missing_key, version) is not self._missing_key

    async def ahas_key(self, key: object, version: int | None = None) -> bool:
        """See has_key()."""
        return await self.aget(key, self._missing_key, version) is not self._missing_key

    async def _set_many(
        self, data: Mapping[_Key, object], timeout: object, version: int | None, groups: Iterable[str]
    ) -> list[_Key]:
        values, seconds = self._parts.values, self._seconds(timeout)
        names = {self._key(key, version): key for key in data}
        encoded = {name: self._encoded(data[key]) for name, key in names.items()}
        skipped = [name for name, each in encoded.items() if each is None]
        if skipped:
            await values.delete_many(skipped)
        stored = {name: each for name, each in encoded.items() if each is not None}
        failed = await values.set_many(stored, seconds, texts(groups))
        return [names[name] for name in (*skipped, *failed)]

    def set(
        self,
        key: object,
        value: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> None:
        """Store a value, as one of ``groups``."""
        self._parts.cache.run(self._set_many({key: value}, timeout, version, groups))

    async def aset(
        self,
        key: object,
        value: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> None:
        """See set()."""
        await self._parts.cache.arun(self._set_many({key: value}, timeout, version, groups))

    def set_many(
        self,
        data: Mapping[_Key, object],
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> list[_Key]:
        """Store values in one round trip; return the keys for which that failed."""
        return self._parts.cache.run(self._set_many(data, timeout, version, groups))

    async def aset_many(
        self,
        data: Mapping[_Key, object],
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> list[_Key]:
        """See set_many()."""
        return await self._parts.cache.arun(self._set_many(data, timeout, version, groups))

    async def _add(
        self, key: object, value: object, timeout: object, version: int | None, groups: Iterable[str]
    ) -> bool:
        name, data = self._key(key, version), self._encoded(value)
        if data is None:
            return False
        added = await self._parts.values.add(name, data, self._seconds(timeout), texts(groups))
        return self._parts.adds_without_redis if added is None else added

    def add(
        self,
        key: object,
        value: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> bool:
        """Store a value if there is none, among all processes; return whether it was stored."""
        return self._parts.cache.run(self._add(key, value, timeout, version, groups))

    async def aadd(
        self,
        key: object,
        value: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> bool:
        """See add()."""
        return await self._parts.cache.arun(self._add(key, value, timeout, version, groups))

    async def _get_or_set(
        self, key: object, default: object, timeout: object, version: int | None, groups: Iterable[str]
    ) -> object:
        made: list[object] = []

        def encoded(value: object) -> bytes:
            made.append(value)
            return self._parts.tagging.encode(value)

        async def encoded_later(value: Awaitable[object]) -> bytes:
            return encoded(await value)

        def load(_: object) -> bytes | Awaitable[bytes]:
            value = default() if callable(default) else default
            return encoded_later(value) if isawaitable(value) else encoded(value)

        name = self._key(key, version)
        try:
            data = await self._parts.values.get_or_load(name, load, self._seconds(timeout), texts(groups))
        except UnsupportedValue as error:
            if not self._parts.skips:
                raise
            _log.warning("not cached: %s", error)
            return made[0] if made else default() if callable(default) else default
        return self._decoded(data, None)

    def get_or_set(
        self,
        key: object,
        default: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> Any:
        """Return a value, or that of ``default``, which is stored: it is called once among all processes."""
        return self._parts.cache.run(self._get_or_set(key, default, timeout, version, groups))

    async def aget_or_set(
        self,
        key: object,
        default: object,
        timeout: object = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> Any:
        """See get_or_set(); ``default`` may return an awaitable."""
        return await self._parts.cache.arun(self._get_or_set(key, default, timeout, version, groups))

    def touch(self, key: object, timeout: object = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value for so long from now; return whether there is one."""
        parts = self._parts
        return parts.cache.run(parts.values.touch(self._key(key, version), self._seconds(timeout)))

    async def atouch(
        self, key: object, timeout: object = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """See touch()."""
        parts = self._parts
        return await parts.cache.arun(parts.values.touch(self._key(key, version), self._seconds(timeout)))

    def delete(self, key: object, version: int | None = None) -> bool:
        """Forget a value; return whether there was one."""
        return self._parts.cache.run(self._parts.values.delete_many([self._key(key, version)]))

    async def adelete(self, key: object, version: int | None = None) -> bool:
        """See delete()."""
        return await self._parts.cache.arun(self._parts.values.delete_many([self._key(key, version)]))

    def delete_many(self, keys: Iterable[_Key], version: int | None = None) -> None:
        """Forget values in one round trip."""
        names = [self._key(key, version) for key in keys]
        self._parts.cache.run(self._parts.values.delete_many(names))

    async def adelete_many(self, keys: Iterable[_Key], version: int | None = None) -> None:
        """See delete_many()."""
        names = [self._key(key, version) for key in keys]
        await self._parts.cache.arun(self._parts.values.delete_many(names))

    async def _incr(self, key: object, delta: Any, version: int | None) -> object:
        tagging = self._parts.tagging

        def increased(data: bytes) -> bytes:
            return tagging.encode(tagging.decode(data) + delta)

        data = await self._parts.values.change(self._key(key, version), increased)
        if data is None:
            raise ValueError(f"Key '{key}' not found")
        return tagging.decode(data)

    def incr(self, key: object, delta: float = 1, version: int | None = None) -> Any:
        """Add to a number, which no other process does in between. Raises ValueError if there is none."""
        return self._parts.cache.run(self._incr(key, delta, version))

    async def aincr(self, key: object, delta: float = 1, version: int | None = None) -> Any:
        """See incr()."""
        return await self._parts.cache.arun(self._incr(key, delta, version))

    def clear(self) -> None:
        """Make all values invalid, at the cost of one write."""
        self._parts.cache.run(self._parts.values.clear())

    async def aclear(self) -> None:
        """See clear()."""
        await self._parts.cache.arun(self._parts.values.clear())

    def invalidate(self, *, groups: Iterable[str], urls: Iterable[str] = ()) -> Invalidation:
        """Make what belongs to ``groups`` invalid here, in other processes and at the edge."""
        return self._parts.cache.run(writes.invalidate(self._parts.cache, groups, urls))

    async def ainvalidate(self, *, groups: Iterable[str], urls: Iterable[str] = ()) -> Invalidation:
        """See invalidate()."""
        return await self._parts.cache.arun(writes.invalidate(self._parts.cache, groups, urls))
