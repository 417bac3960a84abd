"""Workers KV."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import js
from pyodide.ffi import JsException

from origin_sdk_edge.adapters.clock import epoch_ms
from origin_sdk_edge.adapters.javascript import entries_of, from_json
from origin_sdk_edge.adapters.promises import promised, within
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.ports import Body, StoredValue, StoreError, Stream
from origin_sdk_wire.settings import Settings

__all__ = ["KvStore"]

_WRITE_TIMEOUT_SECONDS = 8.0
"""Three tries end before the runtime ends what goes on after a response, which is after 30 s."""
_PAUSE_MS = 5000
"""So long a KV that took too long is left alone, so that not every request waits for it."""


_stringify = js.JSON.stringify


class KvStore:
    """The KV namespace of a binding."""

    def __init__(self, namespace: Any, settings: Settings, counters: Counters) -> None:
        self._namespace = namespace
        self._counters = counters
        self._timeout_seconds = settings.kv_timeout
        self._alone_until_ms = 0
        self._null = from_json("null")
        self._read = from_json('{"type": "arrayBuffer", "cacheTtl": 60}')
        self._read_stream = from_json('{"type": "stream", "cacheTtl": 60}')
        # As freshly as KV allows: marks have to be seen soon.
        self._read_texts = from_json('{"type": "text", "cacheTtl": 30}')

    async def read(self, key: str) -> StoredValue | None:
        """See :class:`origin_sdk_edge.ports.Store`."""
        self._counters.kv_used("read", (key,))
        found = await self._done(self._namespace.getWithMetadata, key, self._read)
        if found.value is self._null:
            return None
        return StoredValue(json.loads(_stringify(found.metadata)), found.value)

    async def read_stream(self, key: str) -> Stream | None:
        """See :class:`origin_sdk_edge.ports.Store`."""
        self._counters.kv_used("read", (key,))
        found = await self._done(self._namespace.get, key, self._read_stream)
        return None if found is self._null else found

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See :class:`origin_sdk_edge.ports.Store`."""
        if not keys:
            return {}
        self._counters.kv_used("read", keys)
        found = await self._done(self._namespace.get, from_json(json.dumps(keys)), self._read_texts)
        try:
            texts = entries_of(found)
        except JsException as error:
            raise StoreError(f"KV answered a bulk get with {found}: {error}") from error
        if not texts.keys() >= set(keys):
            raise StoreError("KV didn't answer for each key of a bulk get")
        return {key: text for key, text in texts.items() if isinstance(text, str)}

    async def write(self, key: str, value: Body | str, metadata: str | None, ttl_seconds: int) -> None:
        """See :class:`origin_sdk_edge.ports.Store`."""
        self._counters.kv_used("write", (key,))
        shown = f', "metadata": {metadata}' if metadata else ""
        options = from_json(f'{{"expirationTtl": {ttl_seconds}{shown}}}')
        try:
            writing = promised(self._namespace.put, self._namespace, key, value, options)
            await within(_WRITE_TIMEOUT_SECONDS, writing)
            self._counters.kv_wrote(len(value.encode()) if isinstance(value, str) else value.byteLength)
        except JsException as error:
            self._counters.kv_failed("write")
            raise StoreError(str(error)) from error
        except TimeoutError as error:
            self._counters.kv_failed("write")
            raise StoreError(f"KV took longer than {_WRITE_TIMEOUT_SECONDS:g} s to write") from error

    async def _done(self, method: Any, *arguments: Any) -> Any:
        now_ms = epoch_ms()
        if now_ms < self._alone_until_ms:
            raise StoreError("KV took too long a short while ago")
        try:
            return await within(self._timeout_seconds, promised(method, self._namespace, *arguments))
        except JsException as error:
            self._counters.kv_failed("read")
            raise StoreError(str(error)) from error
        except TimeoutError as error:
            self._counters.kv_failed("read")
            self._alone_until_ms = now_ms + int(self._timeout_seconds * 1000) + _PAUSE_MS
            raise StoreError(f"KV took longer than {self._timeout_seconds:g} s") from error
