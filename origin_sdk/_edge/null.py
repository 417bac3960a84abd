"""Clients that purge nothing: for development without an edge cache.

They are the real clients, checks and receipts included, over an API in which nothing is stored.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from origin_sdk._cloudflare.effects import Call, Reply
from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._edge.async_client import AsyncPurgeClient
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.diagnosis import Finding
from origin_sdk._edge.operations import Operations
from origin_sdk._edge.options import Options
from origin_sdk._edge.purge import Operation, purge_id
from origin_sdk._edge.switches import Setting, SwitchRecord
from origin_sdk._edge.visibility import Visible
from origin_sdk._edge.warmup import Warmed, WarmRequest
from origin_sdk._flow import Flow
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.settings import Settings
from origin_sdk._values.targets import Purge
from origin_sdk_wire.marks import Mark

__all__ = ["AsyncNullPurgeClient", "NullPurgeClient"]


class _Nobody(Exchange):
    """Answers as the API would if it wrote whatever it is given, and held nothing. Asks nobody."""

    async def send(self, call: Call | Callable[[], Call]) -> Reply:
        """Answer."""
        made = call if isinstance(call, Call) else call()
        written = len(json.loads(made.body)) if made.method == "PUT" and made.body else 0
        body = json.dumps({"success": True, "result": {"successful_key_count": written} if written else None})
        now = self.clock.now()
        return Reply(404 if "/values/" in made.url else 200, {}, body.encode(), now, now)


async def _seen_nowhere() -> Visible:
    return Visible(is_confirmed=False, seconds=0.0)


class _Nowhere(Operations):
    """Keeps what it was asked to purge in ``purges``."""

    purges: list[Purge]

    def marks_in_force(self) -> dict[str, Mark]:
        """Return the marks that would be there, for :func:`origin_sdk.testing.assert_purged`."""
        moment = round(self.options.clock.now() * 1000)
        return {key: Mark(moment, "none") for purge in self.purges for key in purge.marks()}

    def _operation(self, timeout: float | None) -> Operation:
        operation = super()._operation(timeout)
        real = operation.exchange
        nobody = _Nobody(real.clock, real.budget, real.skew, real.retries, real.seconds)
        return replace(operation, exchange=nobody)

    def _purging(self, targets: Purge, timeout: float | None) -> Flow[Receipt]:
        self.purges.append(targets)
        return super()._purging(targets, timeout)

    def _waiting(self, receipt: Receipt, timeout: float | None) -> Flow[Visible]:
        del receipt, timeout
        return _seen_nowhere()

    async def _switching(self, setting: Setting) -> SwitchRecord:
        now = datetime.fromtimestamp(self.options.clock.now(), UTC)
        setting.check([rule.name for rule in self.project.rules], now)
        id_ = purge_id(now.timestamp(), self.options.clock.token())
        until = setting.until or now
        return SwitchRecord(id_, setting.kind, setting.rule, now, until, setting.seconds, why=setting.reason)

    async def _switches(self) -> tuple[SwitchRecord, ...]:
        return ()

    async def _examining(self, *, may_write: bool) -> list[Finding]:
        del may_write
        return []


class NullPurgeClient(_Nowhere, PurgeClient):
    """Stands in for :class:`origin_sdk.PurgeClient`; settings and transports that are given don't matter."""

    def __init__(self, *_: object, options: Options | None = None, **__: object) -> None:
        super().__init__(Settings.nowhere(), options=options)
        self.purges = []

    def _warm(self, url: str, request: WarmRequest) -> Warmed:
        del request
        return Warmed(url)


class AsyncNullPurgeClient(_Nowhere, AsyncPurgeClient):
    """Stands in for :class:`origin_sdk.AsyncPurgeClient`; settings and transports don't matter."""

    def __init__(self, *_: object, options: Options | None = None, **__: object) -> None:
        super().__init__(Settings.nowhere(), options=options)
        self.purges = []

    async def _warm(self, url: str, request: WarmRequest) -> Warmed:
        del request
        return Warmed(url)
