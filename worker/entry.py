"""The Worker: wires the environment to settings, adapters and handler."""

import gc
import json
import time
from typing import Any

import js

import hooks
from cachewire.config import ConfigError, load
from cachewire.key import parse_target
from edgecache.adapters.bodies import ArrayBuffers
from edgecache.adapters.javascript import stringified_fields
from edgecache.adapters.kv import KvStore
from edgecache.adapters.origin import FetchOrigin
from edgecache.adapters.outgoing import JsResponses
from edgecache.adapters.timing import JsTiming, WaitUntil
from edgecache.fastpath import FRAMES_BODY, FastPath
from edgecache.handler import Handler
from edgecache.hooks import load_hooks
from edgecache.ports import Incoming, Ports
from edgecache.storage import Storage


def report(where: str, error: Exception) -> None:
    """Log a fault that costs a hit, and no response."""
    js.console.error(f"edge cache: {where}: {type(error).__name__}: {error}")


def warn(warning: str) -> None:
    """Log a setting that mostly does harm."""
    js.console.warn(f"edge cache: {warning}")


class Worker:
    """What an isolate sets up once."""

    def __init__(self, environment: Any) -> None:
        settings = load(json.loads(js.JSON.stringify(environment)), warn)
        loaded = load_hooks(hooks, report)
        bodies, timing, outgoing = ArrayBuffers(), JsTiming(), JsResponses()
        storage = Storage(KvStore(environment.CACHE, settings), bodies, timing, settings, report)
        ports = Ports(FetchOrigin(settings), bodies, outgoing, timing, report)
        self.handler = Handler(settings, loaded, storage, ports)
        self.fast_path = FastPath(settings, loaded, storage.marks, storage.memory, outgoing)
        # What is here now stays: looking through it again and again would cost each request some 5 %.
        gc.freeze()
        gc.set_threshold(20_000)

    async def answer(self, request: Any, url: str, context: Any) -> Any:
        """Answer by the full path."""
        fields = stringified_fields(request.headers)
        method = request.method
        has_body = method not in {"GET", "HEAD"} or FRAMES_BODY.search(fields)
        incoming = Incoming(method, url, json.loads(fields), request if has_body else None)
        background = WaitUntil(context, report)
        with background.kept():
            served = await self.handler.handle(incoming, background)
        self.fast_path.remember(url, fields, served, int(time.time() * 1000))
        return served.response


def refuse(error: ConfigError, url: str) -> Any:
    """Answer 500 for settings that can't be used; the details stay in the log, but on one's own machine."""
    js.console.error(f"edge cache: {error}")
    is_local = parse_target(url).host.partition(":")[0] in {"127.0.0.1", "localhost"}
    text = f"{error}\n" if is_local else "The edge cache is not configured; its log says what is wrong.\n"
    return js.Response.new(text, js.JSON.parse('{"status": 500}'))


_worker: Worker | None = None


def on_fetch(request: Any, env: Any, ctx: Any) -> Any:
    """Answer a request: out of memory without a coroutine, where a decision may be repeated."""
    global _worker  # noqa: PLW0603 - an isolate's state, and there is one isolate
    if _worker is None:
        try:
            _worker = Worker(env)
        except ConfigError as error:
            return refuse(error, request.url)
    fast_path, url = _worker.fast_path, request.url
    if fast_path.knows(url) and request.method == "GET":
        repeated = fast_path.repeat(url, stringified_fields(request.headers), int(time.time() * 1000))
        if repeated is not None:
            return repeated
    return _worker.answer(request, url, ctx)
