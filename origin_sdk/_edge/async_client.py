"""The asynchronous client: the same verbs as coroutines."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self, TypeVar, Unpack

import httpx

from origin_sdk._cloudflare.connections import AsyncConnections, AsyncTransport
from origin_sdk._cloudflare.drivers import AsyncDriver, OnProgress
from origin_sdk._cloudflare.effects import Progress
from origin_sdk._edge.api_keys import Wanted, read_keys_page
from origin_sdk._edge.batch import Batch
from origin_sdk._edge.blast_radius import BlastRadius, blast_radius
from origin_sdk._edge.diagnosis import Finding, require_namespace
from origin_sdk._edge.inspection import Inspection, inspect
from origin_sdk._edge.marks import MarkEntry, read_marks_page
from origin_sdk._edge.operations import (
    CHECK_SECONDS,
    EDGE_FIELDS,
    LOCAL_SECONDS,
    WARM_SECONDS,
    Operations,
    ReadPage,
    resolved,
)
from origin_sdk._edge.options import AsyncBody, Options, PublishArguments, Targets
from origin_sdk._edge.publication import Published
from origin_sdk._edge.purge import learn_clock
from origin_sdk._edge.stored_responses import StoredResponse
from origin_sdk._edge.switches import Setting, SwitchRecord, switch_kind
from origin_sdk._edge.visibility import Visible
from origin_sdk._edge.warmup import Warmed, WarmRequest, to_warm, warmed
from origin_sdk._process.spans import span
from origin_sdk._values.api_keys import ApiKeysReceipt, NewApiKey, StoredApiKey
from origin_sdk._values.project import Project
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.settings import Settings
from origin_sdk._values.targets import Purge
from origin_sdk._values.texts import Texts

__all__ = ["AsyncPurgeClient"]

_PLAIN = WarmRequest()

_Listed = TypeVar("_Listed")


class AsyncPurgeClient(Operations):
    """:class:`origin_sdk.PurgeClient` for asyncio.

    Safe to share between tasks, between the event loops of several threads and of one ``asyncio.run`` after
    another, and to create before a fork: each event loop opens connections of its own, and closes them as it
    ends.
    ``transport`` is one of httpx, or a function that makes one for each event loop.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        project: Project | None = None,
        options: Options | None = None,
        transport: AsyncTransport | None = None,
        edge_transport: AsyncTransport | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(*resolved(settings, project, arguments), options or Options())
        self._transports = {"transport": transport, "edge_transport": edge_transport}
        self._api = AsyncConnections(transport, headers=self._api_fields())
        self._edge = AsyncConnections(edge_transport, headers=EDGE_FIELDS, timeout=WARM_SECONDS)
        self._driver = AsyncDriver(self._api.client, self.options.clock, self._edge.client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the running event loop's connections; a later call opens new ones."""
        await self._api.aclose()
        await self._edge.aclose()

    async def purge(
        self,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **targets: Unpack[Targets],
    ) -> Receipt:
        """Purge any mix of URLs, groups, path prefixes, hosts or everything, and return the proof.

        Raises :class:`origin_sdk.errors.PartialPurgeError` if only some of it is done.
        """
        return await self.send(Purge.of(**targets), timeout=timeout, on_progress=on_progress)

    async def send(
        self, purge: Purge, *, timeout: float | None = None, on_progress: OnProgress | None = None
    ) -> Receipt:
        """Send a purge that was created earlier.

        It may be the ``remaining`` of an error, or one kept in an outbox.
        """
        with span("edge purge") as traced:
            receipt = await self._driver.run(self._purging(purge, timeout), on_progress)
            traced.note("edge.purge.id", receipt.id)
            traced.note("edge.purge.marks", len(receipt.marks))
            return receipt

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """Collect purges in a ``with`` block and send them merged at its end; if it raises, none is sent."""
        batch = Batch()
        yield batch
        for purge in batch.purges:
            batch.receipts.append(await self.send(purge))

    async def tell(self, receipt: Receipt) -> Receipt:
        """Tell the purge log once more of a purge whose receipt says that it wasn't ``told``.

        Return the receipt with how that ended; it raises nothing for a log that can't be told.
        """
        return await self._driver.run(self._telling(receipt))

    async def wait_until_visible(
        self, receipt: Receipt, *, timeout: float | None = None, on_progress: OnProgress | None = None
    ) -> Visible:
        """Wait until every location honours a purge, as the purge log says, or its ``visible_by`` is over.

        Without a purge log that is the whole bound. Raises :class:`DeadlineExceeded` if ``timeout`` seconds
        don't suffice, as soon as that is clear. ``on_progress`` is told how many locations have read it.
        """
        return await self._driver.run(self._waiting(receipt, timeout), on_progress)

    async def learn_clock(self) -> None:
        """Ask for Cloudflare's time, once, so that the first mark already carries it.

        Without, the first reply tells it, and what was marked by a clock that is slow is marked again.
        """
        await self._driver.run(learn_clock(self._operation(CHECK_SECONDS)))

    async def preview(
        self, *, on_progress: OnProgress | None = None, **targets: Unpack[Targets]
    ) -> BlastRadius:
        """Count what a purge would hit, and purge nothing."""
        return await self._driver.run(blast_radius(self._operation(None), Purge.of(**targets)), on_progress)

    async def publish(
        self,
        url: str,
        body: AsyncBody,
        *,
        timeout: float | None = None,
        **arguments: Unpack[PublishArguments],
    ) -> Published:
        """Store a response at the edge before anyone requests it.

        Raises :class:`NotCacheable` for what can't be shared.
        """
        rendered, completed = await self._rendered_async(url, body, arguments)
        publication = self._publication(url, rendered, completed)
        with span("edge publish"):
            return await self._driver.run(self._publishing(publication, timeout))

    async def inspect(self, url: str) -> Inspection:
        """Return what is stored for a URL, the marks that cover it, and what the next request gets."""
        return await self._driver.run(inspect(self._operation(None), url, self.project))

    async def list(self, **targets: Unpack[Targets]) -> AsyncIterator[StoredResponse]:
        """Yield the stored responses that a purge of ``targets`` would hit, or all.

        A page is in memory at a time.
        """
        listing = self._listing(Purge.of(**targets) if targets else None)
        while not listing.is_done:
            for stored in await self._driver.run(listing.next_page()):
                yield stored

    async def marks(self) -> AsyncIterator[MarkEntry]:
        """Yield the purge marks that are in force, with who wrote them and why as far as they say."""
        async for entry in self._pages(read_marks_page):
            yield entry

    async def add_api_keys(
        self,
        keys: Iterable[NewApiKey],
        *,
        reason: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ApiKeysReceipt:
        """Add API keys to those in KV, or change what is said of them.

        What is there already as it is to be isn't written again, and one that was revoked stays so. With
        :meth:`NewApiKey.generated` a key is made. Keys that are given themselves need the setting
        ``api_key_table_secret``; ``on_progress`` is told of thousands. Once some are written, an error says
        how many; the same call again writes the rest.
        """
        return await self._driver.run(self._adding_keys(keys, reason, timeout), on_progress)

    async def revoke_api_keys(
        self,
        *,
        keys: Texts = (),
        digests: Texts = (),
        claims: Mapping[str, str | int] | None = None,
        reason: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ApiKeysReceipt:
        """Revoke API keys: by themselves, by digests or the beginnings of such, or all that have ``claims``.

        They stay revoked. The receipt says by when every location refuses them; a purge of a group that
        ``revoked_by`` makes of their claims is seen sooner.
        """
        wanted = Wanted(keys, digests, claims)
        return await self._driver.run(self._revoking_keys(wanted, reason, timeout), on_progress)

    async def api_keys(self) -> AsyncIterator[StoredApiKey]:
        """Yield the API keys in KV, by their digests: whose they are, and which are revoked."""
        async for key in self._pages(read_keys_page):
            yield key

    async def _pages(self, page: ReadPage[_Listed]) -> AsyncIterator[_Listed]:
        """Yield what all pages list, with one of them in memory at a time."""
        cursor: str | None = None
        while cursor != "":
            listed, cursor = await self._driver.run(page(self._operation(None), cursor or ""))
            for each in listed:
                yield each

    async def switch(
        self,
        kind: str,
        *,
        rule: str = "",
        until: datetime | None = None,
        seconds: int = 0,
        reason: str = "",
    ) -> SwitchRecord:
        """Have the cache do something differently until a time, without a deploy.

        ``kind`` is ``bypass`` (the cache takes no part), ``stale`` (stale responses may be served for
        ``seconds``) or ``pause`` (purges since then take effect when it ends). It is for one ``rule`` or for
        everything, as a pause always is, and for a day at most. Without ``until`` it takes back what was set
        for the same kind and rule. Needs a purge log, and a key to it that has no scope.
        """
        setting = Setting(switch_kind(kind), rule, until, seconds, reason)
        return await self._driver.run(self._switching(setting))

    async def switches(self) -> tuple[SwitchRecord, ...]:
        """Return the switches that are on, as the Worker tells."""
        return await self._driver.run(self._switches())

    async def check(self, *, may_write: bool = True) -> tuple[Finding, ...]:
        """Examine token, namespace, wire version, clock and settings."""
        return tuple(await self._driver.run(self._examining(may_write=may_write)))

    async def require_namespace(self) -> None:
        """Raise :class:`NamespaceNotFound` if a local API, which takes any name, serves another namespace.

        Cloudflare's own says so by itself, on every call.
        """
        await self._driver.run(require_namespace(self._operation(LOCAL_SECONDS)))

    async def warm(
        self,
        urls: Texts,
        *,
        concurrency: int = 8,
        on_progress: OnProgress | None = None,
        request: WarmRequest = _PLAIN,
    ) -> tuple[Warmed, ...]:
        """Request each URL from the Worker, so that KV has it; return the results in the order given.

        ``request`` says how: by GET, or with a method and a content that a rule puts into the key.
        """
        wanted = to_warm(urls, concurrency)
        limit = asyncio.Semaphore(concurrency)
        done = 0

        async def one(url: str) -> Warmed:
            nonlocal done
            async with limit:
                result = await self._warm(url, request)
            done += 1
            if on_progress:
                on_progress(Progress(done, len(wanted)))
            return result

        return tuple(await asyncio.gather(*(one(url) for url in wanted)))

    async def _warm(self, url: str, request: WarmRequest) -> Warmed:
        try:
            edge = await self._edge.client()
            async with edge.stream(request.method, url, **request.options) as response:
                async for _ in response.aiter_bytes():
                    pass  # a body cut short would not be stored
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Warmed(url, error=f"{type(error).__name__}: {error}")
        return warmed(url, response.status_code, response.headers)
