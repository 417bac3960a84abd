"""The purge log in a Durable Object: the class that the runtime starts, and how the Worker reaches it."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urlsplit

import js
from pyodide.ffi import JsException
from workers import DurableObject

from origin_sdk_edge.adapters import promises
from origin_sdk_edge.adapters.clock import epoch_ms
from origin_sdk_edge.adapters.durable_objects import BASE, ask_object, read_query
from origin_sdk_edge.adapters.flights import FLIGHT_PATH, FlightTower
from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.promises import drive, promised, within
from origin_sdk_edge.ports import Request, Response, StoreError
from origin_sdk_edge.purge_log.ledger import Ledger, Limits
from origin_sdk_edge.purge_log.reader import honoured_ms
from origin_sdk_wire.config import VARIABLES, load
from origin_sdk_wire.purge_log.entries import LogEntry
from origin_sdk_wire.purge_log.messages import (
    all_visible,
    parse_question,
    parse_state,
    parse_told,
    parse_visibility,
    state_of_all,
)
from origin_sdk_wire.purge_log.metadata import told_of
from origin_sdk_wire.purge_log.shards import Shard, shards_of

__all__ = ["LogStub", "PurgeLog"]

_NAME = "purge-log"
"""Of the object that all isolates ask, where there is one. Shards are named by number, and of how many: with
another number of them each begins a history of its own."""
_TIMEOUT_SECONDS = 2.0
_MAX_PAGES = 20
"""Of a list; more entries than that in ten minutes are too many to be listed again and again."""


class PurgeLog(DurableObject):  # type: ignore[no-untyped-call]  # the runtime says no types
    """The Durable Object. It answers what :class:`LogStub` asks, and the one of a name for flights those."""

    def __init__(self, context: Any, environment: Any) -> None:
        super().__init__(context, environment)
        self._settings = load(_variables_of(environment))
        self._namespace = environment.CACHE
        self._sql = context.storage.sql
        self._ledger: Ledger | None = None

    def _ledger_of(self, query: Mapping[str, str]) -> Ledger:
        """Return the ledger; each question says of which shard, which is always the same."""
        if self._ledger is None:
            settings = self._settings
            window_ms = int(settings.purge_log_window * 1000)
            limits = Limits(window_ms, honoured_ms(settings), keys=settings.store_keys)
            shard = Shard(int(query["shard"]), int(query["of"]))
            self._ledger = Ledger(self, limits, epoch_ms(), str(js.crypto.randomUUID()), shard)
        return self._ledger

    @cached_property
    def _tower(self) -> FlightTower:
        return FlightTower()

    def run(self, statement: str, *values: str | int) -> list[list[str | int]]:
        """See :class:`origin_sdk_edge.purge_log.ledger.Database`."""
        rows: list[list[str | int]] = json.loads(
            js.JSON.stringify(self._sql.exec(statement, *values).raw().toArray())
        )
        return rows

    async def on_fetch(self, request: Request) -> Response:
        """Answer a question of the Worker; nobody else reaches the object."""
        url = urlsplit(request.url)
        if url.path.startswith(FLIGHT_PATH):
            return await self._flown(request)
        query = read_query(url.query)
        try:
            text = await self._answer(url.path, query, request)
        except Exception as error:  # noqa: BLE001 - the asker goes by the marks
            js.console.error(f"edge cache: purge log: {type(error).__name__}: {error}")
            return js.Response.new("", from_json('{"status": 500}'))
        return js.Response.new(text)

    async def _flown(self, request: Request) -> Response:
        """Answer what is asked about flights: driven by promises, as all that waits for others is."""
        own = promises.deferred()

        def fail(error: Exception) -> None:
            js.console.error(f"edge cache: flights: {type(error).__name__}: {error}")
            own.resolve(js.Response.new("", from_json('{"status": 500}')))

        drive(self._tower.answer(request.js_object), own.resolve, fail)
        return await own.promise

    async def _answer(self, path: str, query: dict[str, str], request: Request) -> str:
        ledger, now_ms = self._ledger_of(query), epoch_ms()
        if path == "/page":
            if not ledger.may_ask(now_ms):
                raise StoreError("more questions per second than it accepts")
            await self._list(ledger, now_ms)
            return str(ledger.page(int(query["since"]), query["location"], epoch_ms()))
        if path == "/tell":
            body = (await request.text()).encode()
            if "nonce" in query and not ledger.is_fresh_nonce(query["nonce"], int(query["until"]), now_ms):
                return ""
            return json.dumps({"next": ledger.tell(parse_told(body), now_ms)})
        if path == "/visible":
            body = (await request.text()).encode()
            return str(ledger.visibility(parse_question(body), now_ms))
        return str(ledger.state(now_ms))

    async def _list(self, ledger: Ledger, now_ms: int) -> None:
        """List the newest of KV's log, if that is due."""
        prefixes = ledger.listing(now_ms)
        if not prefixes:
            return
        listed: dict[str, object] = {}
        try:
            for prefix in prefixes:
                listed |= await self._listed(prefix)
        except (JsException, StoreError) as error:
            ledger.unlisted()
            js.console.error(f"edge cache: purge log: KV can't be listed: {error}")
            return
        ledger.listed(listed, now_ms, epoch_ms())
        if ledger.broken:
            js.console.error(f"edge cache: seal: {ledger.broken} entries of the purge log can't be opened")

    async def _listed(self, prefix: str) -> dict[str, object]:
        found: dict[str, object] = {}
        options: dict[str, object] = {"prefix": prefix}
        for _ in range(_MAX_PAGES):
            answer = await self._namespace.list(from_json(json.dumps(options)))
            page = json.loads(js.JSON.stringify(answer))
            found |= {key["name"]: key.get("metadata") for key in page["keys"]}
            if page["list_complete"]:
                return found
            options["cursor"] = page["cursor"]
        raise StoreError(f"{prefix} has more entries than {_MAX_PAGES} pages")


def _variables_of(environment: Any) -> dict[str, object]:
    """Return the plain variables among an object's bindings, which JSON doesn't show."""
    found = {name: getattr(environment, name, None) for name in VARIABLES}
    return {name: value for name, value in found.items() if isinstance(value, str | int | float)}


class LogStub:
    """The object as an isolate sees it: what is new in it through the cache of the location, for a second."""

    def __init__(self, namespace: Any, location: str, shards: int) -> None:
        self._namespace = namespace
        self._location = location
        self._shards = shards
        self._has_cache = hasattr(js, "caches")

    async def ask(self, log: str, since: int, *, is_news: bool, shard: int = 0) -> str:
        """See :class:`origin_sdk_edge.purge_log.reader.LogSource`."""
        path = self._path("page", shard, log=log, since=since, location=self._location)
        if not is_news and (kept := await self._kept(BASE + path)):
            return kept
        text = await self._fetched(shard, path, None)
        await self._keep(BASE + path, text)
        return text

    async def told(self, nonce: str, until_ms: int, body: str) -> str:
        """See :class:`origin_sdk_edge.purge_log.route.LogObject`."""
        answers = await self._tell(parse_told(body.encode()), body, nonce=nonce, until=until_ms)
        return answers[0] if all(answers) else ""

    async def tell(self, entries: Sequence[LogEntry]) -> None:
        """See :class:`origin_sdk_edge.purge_log.writer.LogSink`."""
        await self._tell(entries, json.dumps({"entries": [told_of(entry) for entry in entries]}))

    async def _tell(self, entries: Sequence[LogEntry], body: str, **query: str | int) -> list[str]:
        """Tell the shards to which some of the entries belong; each takes its own."""
        concerned = sorted({shard for entry in entries for shard in shards_of(entry, self._shards)})
        posted = (self._posted(shard, self._path("tell", shard, **query), body) for shard in concerned or [0])
        return await promises.together(*posted)

    async def visible(self, body: str) -> str:
        """See :class:`origin_sdk_edge.purge_log.route.LogObject`."""
        asked = (self._posted(n, self._path("visible", n), body) for n in range(self._shards))
        return str(all_visible([parse_visibility(text) for text in await promises.together(*asked)]))

    async def state(self) -> str:
        """See :class:`origin_sdk_edge.purge_log.route.LogObject`."""
        asked = (self._fetched(n, self._path("state", n), None) for n in range(self._shards))
        return str(state_of_all([parse_state(text) for text in await promises.together(*asked)]))

    def _path(self, question: str, shard: int, **query: str | int) -> str:
        return f"{question}?{urlencode({**query, 'shard': shard, 'of': self._shards})}"

    async def _posted(self, shard: int, path: str, body: str) -> str:
        options = from_json(json.dumps({"method": "POST", "body": body}))
        return await self._fetched(shard, path, options)

    async def _fetched(self, shard: int, path: str, options: Any) -> str:
        name = _NAME if self._shards == 1 else f"{_NAME}-{shard}-of-{self._shards}"
        response = await ask_object(self._namespace, name, path, options, _TIMEOUT_SECONDS)
        try:
            text: str = await within(_TIMEOUT_SECONDS, promised(response.text, response))
        except (JsException, TimeoutError) as error:
            raise StoreError(f"the answer of the purge log broke off: {error}") from error
        return text

    async def _kept(self, url: str) -> str:
        """Return what another isolate of the location was told within the last second."""
        if not self._has_cache:
            return ""
        try:
            cache = js.caches.default
            found = await within(_TIMEOUT_SECONDS, promised(cache.match, cache, url, None))
            return await within(_TIMEOUT_SECONDS, promised(found.text, found)) if found else ""
        except (JsException, TimeoutError):
            self._has_cache = False  # workerd by itself has none
            return ""

    async def _keep(self, url: str, text: str) -> None:
        if not self._has_cache:
            return
        response = js.Response.new(text, from_json('{"headers": {"cache-control": "max-age=1"}}'))
        try:
            cache = js.caches.default
            await within(_TIMEOUT_SECONDS, promised(cache.put, cache, url, response))
        except (JsException, TimeoutError):
            self._has_cache = False
