"""A KV namespace in memory that a test can break: it stands in for the real one behind a Worker's binding.

with BreakableKV() as kv:
    Worker("a", stores={"CACHE": StandIn(kv.address)})
    kv.fault = failing(429, method="PUT")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, Step, reply

_METADATA = "CF-KV-Metadata"

Perform: TypeAlias = Callable[[Request], Reply]
Fault: TypeAlias = Callable[[Request, Perform], Reply]


def failing(status: int, *, method: str | None = None) -> Fault:
    """Return a fault: every operation, or each of one method, fails with a status."""
    return lambda request, perform: reply(status) if method in {None, request.method} else perform(request)


def garbling(body: bytes) -> Fault:
    """Return a fault: each read of one key answers with these bytes."""
    return lambda request, perform: perform(request) if request.method != "GET" else reply(body=body)


def delaying(*steps: Step, method: str | None = None) -> Fault:
    """Return a fault: every operation, or each of one method, is done at once but answered late."""

    def delay(request: Request, perform: Perform) -> Reply:
        done = perform(request)
        return done.after(*steps) if method in {None, request.method} else done

    return delay


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, and its metadata as JSON."""

    value: bytes
    metadata: str | None = None


class BreakableKV:
    """The namespace. `entries` is what it holds, `requests()` what the binding asked for."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.fault: Fault | None = None
        self._server = ScriptedOrigin()
        self._server.otherwise(self._answer)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    @property
    def address(self) -> str:
        return self._server.address

    def requests(self) -> list[Request]:
        """Return the operations so far."""
        return self._server.requests()

    def reset(self) -> None:
        """Empty and mend it."""
        self._server.forget()
        self._server.otherwise(self._answer)
        self.entries.clear()
        self.fault = None

    def _answer(self, request: Request) -> Reply:
        return self.fault(request, self._perform) if self.fault else self._perform(request)

    def _perform(self, request: Request) -> Reply:
        key = unquote(request.path[1:])
        match request.method, request.path:
            case "GET", "/":
                return self._list(request)
            case "GET", _:
                return self._get(key)
            case "PUT", _:
                self.entries[key] = Entry(request.body, request.value(_METADATA))
                return reply()
            case "DELETE", _:
                self.entries.pop(key, None)
                return reply()
            case "POST", "/bulk/get":
                return self._bulk_get(request)
        return reply(405)

    def _get(self, key: str) -> Reply:
        if (entry := self.entries.get(key)) is None:
            return reply(404)
        return reply(200, [] if entry.metadata is None else [(_METADATA, entry.metadata)], entry.value)

    def _list(self, request: Request) -> Reply:
        [prefix] = parse_qs(urlsplit(request.target).query).get("prefix", [""])
        keys = [{"name": key} for key in sorted(self.entries) if key.startswith(prefix)]
        return _json({"keys": keys, "list_complete": True})

    def _bulk_get(self, request: Request) -> Reply:
        asked = json.loads(request.body)
        return _json({key: self._bulk_value(key, asked) for key in asked["keys"]})

    def _bulk_value(self, key: str, asked: dict[str, object]) -> object:
        if (entry := self.entries.get(key)) is None:
            return None
        text = entry.value.decode(errors="replace")
        value = json.loads(text) if asked.get("type") == "json" else text
        if not asked.get("withMetadata"):
            return value
        return {"value": value, "metadata": entry.metadata and json.loads(entry.metadata)}


def _json(value: object) -> Reply:
    return reply(200, [("Content-Type", "application/json")], json.dumps(value).encode())
