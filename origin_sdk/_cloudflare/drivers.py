"""Do the steps of a flow with httpx: once for threads, once for asyncio. No rule stands here."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import TypeVar

import httpx

from origin_sdk._cloudflare.effects import Answer, Call, EdgeCall, Failure, Pause, Progress, Reply, Work
from origin_sdk._flow import AnyStep, Flow, drive, drive_async
from origin_sdk._process.clock import Clock

__all__ = ["AsyncDriver", "Driver", "OnProgress"]

OnProgress = Callable[[Progress], None]
"""Is told how far long work is."""

_Result = TypeVar("_Result")
_CONNECT_SECONDS = 5.0


@lru_cache(maxsize=64)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)


def _request(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    # What the client's own `build_request` merges for each request is the same for all of these.
    fields = client.headers if call.body is None else {**client.headers, "content-type": "application/json"}
    if call.fields:
        fields = {**fields, **dict(call.fields)}
    waits = dict.fromkeys(("read", "write", "pool"), call.seconds)
    return httpx.Request(
        call.method,
        _url(call.url).copy_merge_params(call.query) if call.query else _url(call.url),
        content=call.body,
        headers=fields,
        extensions={"timeout": {"connect": min(_CONNECT_SECONDS, call.seconds), **waits}},
    )


def _reply(response: httpx.Response, sent_at: float, received_at: float) -> Reply:
    return Reply(response.status_code, response.headers, response.content, sent_at, received_at)


def _failure(error: httpx.HTTPError) -> Failure:
    return Failure(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


class Driver:
    """Drives flows in the calling thread."""

    def __init__(
        self, client: Callable[[], httpx.Client], clock: Clock, edge: Callable[[], httpx.Client]
    ) -> None:
        self._client, self._edge = client, edge
        self._clock = clock

    def run(self, flow: Flow[_Result], on_progress: OnProgress | None = None) -> _Result:
        """Run a flow to its end and return its result."""
        return drive(flow, partial(self._do, on_progress))

    def _do(self, on_progress: OnProgress | None, step: AnyStep) -> object:
        match step:
            case Call():
                return self._call(step)
            case Work(compute):
                return compute()
            case Pause(seconds):
                self._clock.sleep(seconds)
            case Progress():
                if on_progress:
                    on_progress(step)
            case _:
                raise TypeError(f"{step!r} is no step of the API's flows")
        return None

    def _call(self, call: Call) -> Answer:
        client = self._edge() if isinstance(call, EdgeCall) else self._client()
        sent_at = self._clock.now()
        try:
            response = client.send(_request(client, call))
        except httpx.HTTPError as error:
            return _failure(error)
        return _reply(response, sent_at, self._clock.now())


class AsyncDriver:
    """Drives flows in the running event loop."""

    def __init__(
        self,
        client: Callable[[], Awaitable[httpx.AsyncClient]],
        clock: Clock,
        edge: Callable[[], Awaitable[httpx.AsyncClient]],
    ) -> None:
        self._client, self._edge = client, edge
        self._clock = clock

    async def run(self, flow: Flow[_Result], on_progress: OnProgress | None = None) -> _Result:
        """Run a flow to its end and return its result."""
        return await drive_async(flow, partial(self._do, on_progress))

    async def _do(self, on_progress: OnProgress | None, step: AnyStep) -> object:
        match step:
            case Call():
                return await self._call(step)
            case Work(compute):
                return await asyncio.to_thread(compute)
            case Pause(seconds):
                await self._clock.sleep_async(seconds)
            case Progress():
                if on_progress:
                    on_progress(step)
            case _:
                raise TypeError(f"{step!r} is no step of the API's flows")
        return None

    async def _call(self, call: Call) -> Answer:
        client = await (self._edge() if isinstance(call, EdgeCall) else self._client())
        sent_at = self._clock.now()
        try:
            response = await client.send(_request(client, call))
        except httpx.HTTPError as error:
            return _failure(error)
        return _reply(response, sent_at, self._clock.now())
