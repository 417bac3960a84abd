"""Where counts go: Analytics Engine, and KV for other isolates."""

import json
from typing import Any

import js
from pyodide.ffi import JsException

from origin_sdk_edge.adapters.javascript import entries_of, from_json
from origin_sdk_edge.adapters.promises import promised
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.monitor import Sinks
from origin_sdk_edge.ports import StoreError
from origin_sdk_wire.analytics import Point
from origin_sdk_wire.settings import Settings

__all__ = ["AnalyticsEngine", "KvCounts", "new_isolate_id", "sinks_of"]

_PREFIX = "c1/"
_WATCH = "c1-watch"
_LIFE_SECONDS = 3600
"""An isolate that is idle for so long is shown no more: its counts aren't lost to who has read them."""
_WATCH_SECONDS = 60
"""The least that KV takes."""
_MOST_ISOLATES = 1000
_MOST_BULK_KEYS = 100


class AnalyticsEngine:
    """A data set, by its binding."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    def write(self, point: Point) -> None:
        """Write a point; nothing is waited for."""
        made = {"indexes": [point.index], "blobs": point.blobs, "doubles": point.doubles}
        self._binding.writeDataPoint(from_json(json.dumps(made)))


class KvCounts:
    """See :class:`origin_sdk_edge.monitor.SharedCounts`: a key for each isolate, which goes by itself."""

    def __init__(self, namespace: Any, counters: Counters) -> None:
        self._namespace = namespace
        self._counters = counters
        self._null = from_json("null")
        self._read = from_json('{"type": "text", "cacheTtl": 30}')
        self._list = from_json(json.dumps({"prefix": _PREFIX, "limit": _MOST_ISOLATES}))

    async def write(self, isolate_id: str, text: str) -> None:
        """Write this isolate's counts."""
        await self._put(_PREFIX + isolate_id, text, _LIFE_SECONDS)

    async def read(self) -> list[str]:
        """Read all isolates' counts: a list, and a key for each."""
        listed = await self._done("list", [_PREFIX], self._namespace.list, self._list)
        names = [key.name for key in listed.keys]
        texts: list[str] = []
        for at in range(0, len(names), _MOST_BULK_KEYS):
            part = names[at : at + _MOST_BULK_KEYS]
            found = await self._done(
                "read", part, self._namespace.get, from_json(json.dumps(part)), self._read
            )
            texts += [text for text in entries_of(found).values() if isinstance(text, str)]
        return texts

    async def watch(self) -> None:
        """Write the key that says that somebody watches."""
        if await self.is_watched():
            return
        await self._put(_WATCH, "1", _WATCH_SECONDS)

    async def is_watched(self) -> bool:
        """Read the key that says that somebody watches."""
        return await self._done("read", [_WATCH], self._namespace.get, _WATCH, self._read) is not self._null

    async def _put(self, key: str, text: str, seconds: int) -> None:
        options = from_json(f'{{"expirationTtl": {seconds}}}')
        await self._done("write", [key], self._namespace.put, key, text, options)

    async def _done(self, operation: str, keys: list[str], method: Any, *arguments: Any) -> Any:
        self._counters.kv_used(operation, keys)
        try:
            return await promised(method, self._namespace, *arguments)
        except JsException as error:
            self._counters.kv_failed(operation)
            raise StoreError(str(error)) from error


def sinks_of(environment: Any, settings: Settings, counters: Counters) -> Sinks:
    """Return the sinks that the bindings and the settings ask for."""
    points = getattr(environment, "METRICS", None)
    return Sinks(
        js.console.log,
        AnalyticsEngine(points).write if points else None,
        KvCounts(environment.CACHE, counters) if settings.metrics_shared else None,
    )


def new_isolate_id() -> str:
    """Return an id that no other isolate has."""
    return str(js.crypto.randomUUID()).replace("-", "")[:12]
