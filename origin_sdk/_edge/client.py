"""The synchronous client."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self, TypeVar, Unpack

import httpx

from origin_sdk._cloudflare.connections import Connections, Transport
from origin_sdk._cloudflare.drivers import Driver, OnProgress
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
from origin_sdk._edge.options import Body, Options, PublishArguments, Targets
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

__all__ = ["PurgeClient"]

_PLAIN = WarmRequest()

_Listed = TypeVar("_Listed")


class PurgeClient(Operations):
    """Purges, publishes and inspects what an edge cache stores in one KV namespace.

    Settings come from ``settings``, or from keywords such as ``namespace_id``, else from the environment;
    ``project`` is what :func:`origin_sdk.read_project` returns, needed where rules edit queries.

    Thread-safe, and safe to create before a fork, as gunicorn's preload does: each process opens its own
    connections. ``transport`` is one of httpx, or a function that makes one for each process.

    Every call raises :class:`origin_sdk.errors.OriginSdkError`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        project: Project | None = None,
        options: Options | None = None,
        transport: Transport | None = None,
        edge_transport: Transport | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(*resolved(settings, project, arguments), options or Options())
        self._transports = {"transport": transport, "edge_transport": edge_transport}
        self._api = Connections(transport, headers=self._api_fields())
        self._edge = Connections(edge_transport, headers=EDGE_FIELDS, timeout=WARM_SECONDS)
        self._driver = Driver(self._api.client, self.options.clock, self._edge.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        self._api.close()
        self._edge.close()

    def purge(
        self,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **targets: Unpack[Targets],
    ) -> Receipt:
        """Purge any mix of URLs, groups, path prefixes, hosts or everything, and return the proof.

        Raises :class:`origin_sdk.errors.PartialPurgeError` if only some of it is done.
        """
        return self.send(Purge.of(**targets), timeout=timeout, on_progress=on_progress)

    def send(
        self, purge: Purge, *, timeout: float | None = None, on_progress: OnProgress | None = None
    ) -> Receipt:
        """Send a purge that was created earlier.

        It may be the ``remaining`` of an error, or one kept in an outbox.
        """
        with span("edge purge") as traced:
            receipt = self._driver.run(self._purging(purge, timeout), on_progress)
            traced.note("edge.purge.id", receipt.id)
            traced.note("edge.purge.marks", len(receipt.marks))
            return receipt

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Collect purges in a ``with`` block and send them merged at its end; if it raises, none is sent."""
        batch = Batch()
        yield batch
        batch.receipts += [self.send(purge) for purge in batch.purges]

    def tell(self, receipt: Receipt) -> Receipt:
        """Tell the purge log once more of a purge whose receipt says that it wasn't ``told``.

        Return the receipt with how that ended; it raises nothing for a log that can't be told.
        """
        return self._driver.run(self._telling(receipt))

    def wait_until_visible(
        self, receipt: Receipt, *, timeout: float | None = None, on_progress: OnProgress | None = None
    ) -> Visible:
        """Wait until every location honours a purge, as the purge log says, or its ``visible_by`` is over.

        Without a purge log that is the whole bound. Raises :class:`DeadlineExceeded` if ``timeout`` seconds
        don't suffice, as soon as that is clear. ``on_progress`` is told how many locations have read it.
        """
        return self._driver.run(self._waiting(receipt, timeout), on_progress)

    def learn_clock(self) -> None:
        """Ask for Cloudflare's time, once, so that the first mark already carries it.

        Without, the first reply tells it, and what was marked by a clock that is slow is marked again.
        """
        self._driver.run(learn_clock(self._operation(CHECK_SECONDS)))

    def preview(self, *, on_progress: OnProgress | None = None, **targets: Unpack[Targets]) -> BlastRadius:
        """Count what a purge would hit, and purge nothing."""
        return self._driver.run(blast_radius(self._operation(None), Purge.of(**targets)), on_progress)

    def publish(
        self, url: str, body: Body, *, timeout: float | None = None, **arguments: Unpack[PublishArguments]
    ) -> Published:
        """Store a response at the edge before anyone requests it.

        Raises :class:`NotCacheable` for what can't be shared.
        """
        publication = self._publication(url, *self._rendered(url, body, arguments))
        with span("edge publish"):
            return self._driver.run(self._publishing(publication, timeout))

    def inspect(self, url: str) -> Inspection:
        """Return what is stored for a URL, the marks that cover it, and what the next request gets."""
        return self._driver.run(inspect(self._operation(None), url, self.project))

    def list(self, **targets: Unpack[Targets]) -> Iterator[StoredResponse]:
        """Yield the stored responses that a purge of ``targets`` would hit, or all.

        A page is in memory at a time. What is encrypted is found by its groups with the keys of the store
        alone: a warning says how much was passed over.
        """
        listing = self._listing(Purge.of(**targets) if targets else None)
        while not listing.is_done:
            yield from self._driver.run(listing.next_page())

    def marks(self) -> Iterator[MarkEntry]:
        """Yield the purge marks that are in force, with who wrote them and why as far as they say."""
        return self._pages(read_marks_page)

    def add_api_keys(
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
        return self._driver.run(self._adding_keys(keys, reason, timeout), on_progress)

    def revoke_api_keys(
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
        return self._driver.run(self._revoking_keys(wanted, reason, timeout), on_progress)

    def api_keys(self) -> Iterator[StoredApiKey]:
        """Yield the API keys in KV, by their digests: whose they are, and which are revoked."""
        return self._pages(read_keys_page)

    def _pages(self, page: ReadPage[_Listed]) -> Iterator[_Listed]:
        """Yield what all pages list, with one of them in memory at a time."""
        cursor: str | None = None
        while cursor != "":
            listed, cursor = self._driver.run(page(self._operation(None), cursor or ""))
            yield from listed

    def switch(
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
        return self._driver.run(self._switching(setting))

    def switches(self) -> tuple[SwitchRecord, ...]:
        """Return the switches that are on, as the Worker tells."""
        return self._driver.run(self._switches())

    def check(self, *, may_write: bool = True) -> tuple[Finding, ...]:
        """Examine token, namespace, wire version, clock and settings."""
        return tuple(self._driver.run(self._examining(may_write=may_write)))

    def require_namespace(self) -> None:
        """Raise :class:`NamespaceNotFound` if a local API, which takes any name, serves another namespace.

        Cloudflare's own says so by itself, on every call.
        """
        self._driver.run(require_namespace(self._operation(LOCAL_SECONDS)))

    def warm(
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
        with ThreadPoolExecutor(max_workers=concurrency) as pool:
            try:
                tasks = [pool.submit(self._warm, url, request) for url in wanted]
                for done, _ in enumerate(as_completed(tasks), 1):
                    if on_progress:
                        on_progress(Progress(done, len(wanted)))
            except BaseException:  # also Ctrl-C: what hasn't begun isn't waited for
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return tuple(task.result() for task in tasks)

    def _warm(self, url: str, request: WarmRequest) -> Warmed:
        try:
            with self._edge.client().stream(request.method, url, **request.options) as response:
                for _ in response.iter_bytes():
                    pass  # a body cut short would not be stored
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Warmed(url, error=f"{type(error).__name__}: {error}")
        return warmed(url, response.status_code, response.headers)
