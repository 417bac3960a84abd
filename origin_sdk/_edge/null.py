"""Clients that purge nothing: for development without an edge cache.

The verbs, the checks and the receipts are the same.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Self, Unpack

from cachewire.marks import Mark
from origin_sdk._edge.batch import Batch
from origin_sdk._edge.diagnosis import Finding
from origin_sdk._edge.inspection import Inspection
from origin_sdk._edge.marks import MarkEntry
from origin_sdk._edge.operations import Operations
from origin_sdk._edge.options import AsyncBody, Body, Options, PublishArguments, Rendered, Targets
from origin_sdk._edge.publication import Published
from origin_sdk._edge.purge import BlastRadius
from origin_sdk._edge.stored_responses import StoredResponse
from origin_sdk._edge.warmup import Warmed
from origin_sdk._values.project import DEFAULT_PROJECT
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.settings import Settings
from origin_sdk._values.targets import Purge

__all__ = ["AsyncNullPurgeClient", "NullPurgeClient"]

_NO_RESPONSES: tuple[StoredResponse, ...] = ()
_NO_MARKS: tuple[MarkEntry, ...] = ()


class _Null(Operations):
    """Keeps what it was asked for in ``purges``."""

    def __init__(self, *_: object, options: Options | None = None, **__: object) -> None:
        super().__init__(Settings.nowhere(), DEFAULT_PROJECT, options or Options())
        self.purges: list[Purge] = []

    def marks_in_force(self) -> dict[str, Mark]:
        """Return the marks that would be there, for :func:`origin_sdk.testing.assert_purged`."""
        moment = round(self.options.clock.now() * 1000)
        return {key: Mark(moment, "none") for purge in self.purges for key in purge.marks()}

    def _receipt(self, purge: Purge) -> Receipt:
        self.purges.append(purge)
        moment = datetime.fromtimestamp(self.options.clock.now(), UTC)
        return Receipt("none", purge, tuple(purge.marks()), 0, moment, moment)

    def _published(self, url: str, body: Rendered, arguments: PublishArguments) -> Published:
        publication = self._publication(url, body, arguments)
        return Published(url, "", publication.groups, 0, 0, 0, 0, self.now())

    @staticmethod
    def _preview(targets: Targets) -> BlastRadius:
        purge = Purge.of(**targets)
        return BlastRadius(purge, len(purge.marks()), 0, 0, 0, 0, ())


class NullPurgeClient(_Null):
    """Stands in for :class:`origin_sdk.PurgeClient`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing."""

    def purge(
        self, *, timeout: float | None = None, on_progress: object = None, **targets: Unpack[Targets]
    ) -> Receipt:
        """Check the targets and keep them."""
        return self.send(Purge.of(**targets), timeout=timeout, on_progress=on_progress)

    def send(self, purge: Purge, *, timeout: float | None = None, on_progress: object = None) -> Receipt:
        """Keep the purge."""
        del timeout, on_progress
        return self._receipt(purge)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Collect purges and keep them merged."""
        batch = Batch()
        yield batch
        batch.receipts += map(self._receipt, batch.purges)

    def learn_clock(self) -> None:
        """This machine's will do."""

    def preview(self, *, on_progress: object = None, **targets: Unpack[Targets]) -> BlastRadius:
        """Nothing is stored, so nothing would be hit."""
        del on_progress
        return self._preview(targets)

    def publish(
        self, url: str, body: Body, *, timeout: float | None = None, **arguments: Unpack[PublishArguments]
    ) -> Published:
        """Render and forget."""
        del timeout
        return self._published(url, *self._rendered(url, body, arguments))

    def inspect(self, url: str) -> Inspection:
        """Nothing is stored."""
        return Inspection(url, (), (), 0)

    def list(self, **targets: Unpack[Targets]) -> Iterator[StoredResponse]:
        """Nothing is stored."""
        del targets
        return iter(())

    def marks(self) -> Iterator[MarkEntry]:
        """There are none."""
        return iter(())

    def check(self, *, may_write: bool = True) -> tuple[Finding, ...]:
        """There is nothing to examine."""
        del may_write
        return ()

    def warm(
        self, urls: Iterable[str], *, concurrency: int = 8, on_progress: object = None
    ) -> tuple[Warmed, ...]:
        """Ask nobody."""
        del concurrency, on_progress
        return tuple(Warmed(url) for url in urls)


class AsyncNullPurgeClient(_Null):
    """Stands in for :class:`origin_sdk.AsyncPurgeClient`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing."""

    async def purge(
        self, *, timeout: float | None = None, on_progress: object = None, **targets: Unpack[Targets]
    ) -> Receipt:
        """Check the targets and keep them."""
        return await self.send(Purge.of(**targets), timeout=timeout, on_progress=on_progress)

    async def send(
        self, purge: Purge, *, timeout: float | None = None, on_progress: object = None
    ) -> Receipt:
        """Keep the purge."""
        del timeout, on_progress
        return self._receipt(purge)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """Collect purges and keep them merged."""
        batch = Batch()
        yield batch
        batch.receipts += map(self._receipt, batch.purges)

    async def learn_clock(self) -> None:
        """This machine's will do."""

    async def preview(self, *, on_progress: object = None, **targets: Unpack[Targets]) -> BlastRadius:
        """Nothing is stored, so nothing would be hit."""
        del on_progress
        return self._preview(targets)

    async def publish(
        self,
        url: str,
        body: AsyncBody,
        *,
        timeout: float | None = None,
        **arguments: Unpack[PublishArguments],
    ) -> Published:
        """Render and forget."""
        del timeout
        return self._published(url, *await self._rendered_async(url, body, arguments))

    async def inspect(self, url: str) -> Inspection:
        """Nothing is stored."""
        return Inspection(url, (), (), 0)

    async def list(self, **targets: Unpack[Targets]) -> AsyncIterator[StoredResponse]:
        """Nothing is stored."""
        del targets
        for nothing in _NO_RESPONSES:
            yield nothing

    async def marks(self) -> AsyncIterator[MarkEntry]:
        """There are none."""
        for nothing in _NO_MARKS:
            yield nothing

    async def check(self, *, may_write: bool = True) -> tuple[Finding, ...]:
        """There is nothing to examine."""
        del may_write
        return ()

    async def warm(
        self, urls: Iterable[str], *, concurrency: int = 8, on_progress: object = None
    ) -> tuple[Warmed, ...]:
        """Ask nobody."""
        del concurrency, on_progress
        return tuple(Warmed(url) for url in urls)
