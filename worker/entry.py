"""The Worker: wires the environment to settings, adapters and handler."""

import gc
import json
from collections.abc import Mapping
from typing import Any

import js
from pyodide.ffi import JsException

import hooks
from origin_sdk_edge.adapters.bodies import ArrayBuffers
from origin_sdk_edge.adapters.clock import JsTiming, WaitUntil, epoch_ms
from origin_sdk_edge.adapters.flights import FlightStub
from origin_sdk_edge.adapters.javascript import stringified_fields
from origin_sdk_edge.adapters.kv import KvStore
from origin_sdk_edge.adapters.origin import FetchOrigin, ServiceShield
from origin_sdk_edge.adapters.promises import deferred, drive, give_up_lost, promised
from origin_sdk_edge.adapters.purge_log import LogStub, PurgeLog
from origin_sdk_edge.adapters.responses import JsResponses
from origin_sdk_edge.adapters.sinks import new_isolate_id, sinks_of
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.fastpath import FRAMES_BODY, FastPath
from origin_sdk_edge.handler import Handler, Served, facts_of
from origin_sdk_edge.hooks import HookRunner, hook_warnings, load_hooks
from origin_sdk_edge.monitor import IsolateIdentity, Monitor
from origin_sdk_edge.policy.access import METRICS_PATH
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.ports import Ciphers, Incoming, Keys, Ports, Read, Request, Response, Work
from origin_sdk_edge.purge_log.isolate import IsolateLog
from origin_sdk_edge.shortpath import ShortPath
from origin_sdk_edge.storage import Storage
from origin_sdk_edge.storage.variants import variant
from origin_sdk_wire.choices import Jurisdiction, SingleFlight
from origin_sdk_wire.config import ConfigError, is_development, load
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_BINDING, SHIELD_FIELD, SHIELD_PROPS
from origin_sdk_wire.signed_requests import LOG_PATH

__all__ = ["PurgeLog", "on_fetch"]

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
_FAILED = "The edge cache failed; its log says how.\n"
_NOT_CONFIGURED = "The edge cache is not configured; its log says what is wrong.\n"


def report(where: str, error: Exception) -> None:
    """Log a fault that costs a hit, and no response."""
    js.console.error(f"edge cache: {where}: {type(error).__name__}: {error}")


def warn(warning: str) -> None:
    """Log a setting that mostly does harm."""
    js.console.warn(f"edge cache: {warning}")


class Worker:
    """What an isolate sets up once."""

    def __init__(
        self, environment: Any, variables: Mapping[str, object], location: str, *, is_at_cloudflare: bool
    ) -> None:
        settings = load(variables, warn)
        counters = Counters(settings)

        def note(where: str, error: Exception) -> None:
            report(where, error)
            counters.fault(where)

        if not settings.origin and (settings.development or not is_at_cloudflare):
            # Elsewhere the Host of a request would choose where it goes: an open proxy.
            raise ConfigError(('ORIGIN = "": only Cloudflare knows the origin of a zone; give its URL',))
        bodies, timing, outgoing = ArrayBuffers(), JsTiming(), JsResponses()
        loaded = load_hooks(hooks, note, _runner(settings.hook_timeout))
        for warning in hook_warnings(loaded, settings):
            warn(warning)
        store = KvStore(environment.CACHE, settings, counters)
        storage = Storage(store, bodies, timing, settings, note, _ciphers(settings))
        storage.on_broken_seal = counters.broken_seal
        ports = Ports(FetchOrigin(settings), bodies, outgoing, timing, note, _keys(settings))
        namespace = log_namespace(environment, settings.purge_log_jurisdiction)
        if not namespace and any(rule.single_flight is SingleFlight.GLOBAL for rule in settings.rules):
            warn('single_flight = "global": has no effect without the binding PURGE_LOG (docs/purge-log.md)')
        flights = FlightStub(namespace) if namespace else None
        binding = getattr(environment, SHIELD_BINDING, None)
        shield = ServiceShield(binding, settings) if binding else None
        self.handler = Handler(settings, loaded, storage, ports, counters, flights, shield)
        self.fast_path = FastPath(settings, loaded, storage.marks.table, storage.memory, outgoing, counters)
        self.short_path = ShortPath(
            settings, loaded, storage, self.handler.sender, self.handler.switches, timing, counters
        )
        source = IsolateIdentity(new_isolate_id(), location, timing.now_ms())
        self.log: IsolateLog | None = None
        if namespace:
            stub, switches = LogStub(namespace, location, settings.purge_log_shards), self.handler.switches
            self.log = IsolateLog(stub, storage, switches, settings, timing, note, source.isolate_id)
        sinks = sinks_of(environment, settings, counters)
        self.monitor = Monitor(settings, counters, storage, self.fast_path, source, sinks)
        self._note, self._outgoing, self._records = note, outgoing, storage.records
        # What is here now stays: looking through it again and again would cost each request some 5 %.
        gc.freeze()
        gc.set_threshold(20_000)

    def answer(self, request: Request, method: str, url: str, fields: str, context: Any) -> Response:
        """Answer by KV's short path, or by the full one: a promise of a response."""
        own, background = deferred(), WaitUntil(context, self._note)
        promise, resolve = own.promise, own.resolve
        now_ms = epoch_ms()
        if self.log and self.log.reader.is_due(now_ms):
            background.run(self.log.reader.ask())
        # Also if the client goes away: what is cut off would wait for ever, and keep what it holds.
        context.waitUntil(promise)

        def fail(error: Exception) -> None:
            self._note("worker", error)
            resolve(js.Response.new(_FAILED, js.JSON.parse('{"status": 500}')))

        give_up_lost(now_ms)
        lookup = self.short_path.lookup(url, fields, now_ms) if method == "GET" else None
        if lookup:
            work = self._answered_by_store(request, url, fields, background, lookup, now_ms)
        else:
            is_from_edge = asks_shield(context, fields)
            work = self._answered(request, method, url, fields, background, is_from_edge=is_from_edge)
        drive(work, resolve, fail)
        return promise

    async def _answered_by_store(
        self, request: Request, url: str, fields: str, background: WaitUntil, lookup: Lookup, began_ms: int
    ) -> Response:
        read = await self._records.read(variant(lookup, ()), lookup.rule)
        served = self.short_path.answer(lookup, read, fields, background, began_ms)
        if served is None:
            return await self._answered(request, "GET", url, fields, background, read)
        self._flush_if_due(served, background, epoch_ms())
        return served.response

    async def _answered(
        self,
        request: Request,
        method: str,
        url: str,
        fields: str,
        background: WaitUntil,
        read: Read | None = None,
        *,
        is_from_edge: bool = False,
    ) -> Response:
        has_body = method not in {"GET", "HEAD"} or FRAMES_BODY.search(fields)
        if self.log and LOG_PATH in url and self.log.route.is_for(path := js.URL.new(url).pathname):
            return await self._told(self.log, path, request, json.loads(fields), background)
        body = request if has_body else None
        incoming = Incoming(method, url, json.loads(fields), body, is_from_edge)
        asked = facts_of(incoming) if METRICS_PATH in url and not is_from_edge else None
        if asked and self.monitor.is_for(asked):
            told = await self.monitor.answer(asked, epoch_ms())
            return self._outgoing.plain(told.code, told.fields, told.text)
        served = await self.handler.handle(incoming, background, read)
        now_ms = epoch_ms()
        self.fast_path.remember(url, fields, served, now_ms)
        self._flush_if_due(served, background, now_ms)
        return served.response

    def _flush_if_due(self, served: Served, background: WaitUntil, now_ms: int) -> None:
        if self.monitor.is_due(served.exchange, now_ms):
            background.run(self.monitor.flush(now_ms))

    async def _told(
        self,
        log: IsolateLog,
        path: str,
        request: Request,
        fields: Mapping[str, str],
        background: WaitUntil,
    ) -> Response:
        """Answer a request of the purge log's route."""
        reply = log.route.refusal(request.method, fields.get("content-length", ""))
        if reply is None:
            body = await promised(request.text, request)
            reply = await log.route.answer(path, fields, body.encode("utf-8", "replace"))
        if reply.has_told:
            background.run(log.reader.ask(is_news=True))
        return self._outgoing.plain(reply.code, reply.fields, reply.text)


def _runner(seconds: float) -> HookRunner:
    """Return what runs hooks that wait."""

    async def run(work: Work) -> Any:
        from origin_sdk_edge.adapters.tasks import apart  # noqa: PLC0415 - asyncio is for who needs it

        return await apart(work, seconds, epoch_ms())

    return run


def _keys(settings: Settings) -> Keys | None:
    if not settings.token_issuers:
        return None
    from origin_sdk_edge.adapters.keys import WebKeys  # noqa: PLC0415 - only where there are issuers

    return WebKeys()


def _ciphers(settings: Settings) -> Ciphers | None:
    if not settings.store_keys:
        return None
    from origin_sdk_edge.adapters.ciphers import WebCiphers  # noqa: PLC0415 - only where there are keys

    return WebCiphers()


def log_namespace(environment: Any, jurisdiction: Jurisdiction) -> Any:
    """Return the Durable Objects of the purge log within a jurisdiction: never any others.

    ``None`` where none are bound. Raises :class:`ConfigError` where the runtime knows no jurisdictions.
    """
    namespace = getattr(environment, "PURGE_LOG", None)
    if not namespace or jurisdiction is Jurisdiction.NONE:
        return namespace
    try:
        return namespace.jurisdiction(jurisdiction.value)
    except JsException as error:
        problem = (
            f"PURGE_LOG_JURISDICTION = {jurisdiction.value!r}: {error}; give it where the Worker runs at "
            "Cloudflare, and nowhere else"
        )
        raise ConfigError((problem,)) from error


def asks_shield(context: Any, fields: str) -> bool:
    """Whether an edge asks this Worker as its shield: by the binding that it came over, and nothing else."""
    if f'"{SHIELD_FIELD}":' not in fields:
        return False
    props = getattr(context, "props", None)
    return bool(props) and json.loads(js.JSON.stringify(props) or "{}") == SHIELD_PROPS


def is_at_cloudflare(request: Request) -> bool:
    """Whether this is Cloudflare, by what the runtime says of a request and its client can't.

    workerd alone knows no location, and `wrangler dev` makes one up, for clients on this machine.
    """
    has_location = bool(getattr(request.cf, "colo", None))
    return has_location and (request.headers.get("cf-connecting-ip") or "::1") not in _THIS_MACHINE


def refuse(error: ConfigError, variables: Mapping[str, object]) -> Response:
    """Answer 500 for settings that can't be used; the details stay in the log, but while developing."""
    js.console.error(f"edge cache: {error}")
    shown = f"{error}\n" if is_development(variables) else _NOT_CONFIGURED
    return js.Response.new(shown, js.JSON.parse('{"status": 500}'))


_worker: Worker | None = None


def on_fetch(request: Request, env: Any, ctx: Any) -> Response:
    """Answer a request: out of memory without a coroutine, where a decision may be repeated."""
    global _worker  # noqa: PLW0603 - an isolate's state, and there is one isolate
    if _worker is None:
        variables = json.loads(js.JSON.stringify(env))
        try:
            location = getattr(request.cf, "colo", None) or ""
            _worker = Worker(env, variables, location, is_at_cloudflare=is_at_cloudflare(request))
        except ConfigError as error:
            return refuse(error, variables)
    fast_path, url, fields = _worker.fast_path, request.url, stringified_fields(request.headers)
    method = request.method
    if method == "GET" and fast_path.knows(url):
        repeated = fast_path.repeat(url, fields, epoch_ms())
        if repeated is not None:
            return repeated
    return _worker.answer(request, method, url, fields, ctx)


# Pyodide would bind each call to the signature, for some 40 µs, if this were one.
on_fetch.__signature__ = "none"  # type: ignore[attr-defined]  # a function may have any attribute
