"""What clients and their verbs are given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypedDict

from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.exchange import Retries
from origin_sdk._process.audit import Auditor
from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._values.media_types import Rendered
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.targets import Targets
from origin_sdk._values.texts import Texts

__all__ = ["AsyncBody", "Body", "Options", "PublishArguments", "Rendered", "Targets"]

Body: TypeAlias = Rendered | Callable[[], Rendered]
AsyncBody: TypeAlias = Rendered | Callable[[], Rendered | Awaitable[Rendered]]
"""For asynchronous clients: a body's function may be a coroutine function."""


class PublishArguments(TypedDict, total=False):
    """The optional arguments of ``publish``.

    ``born`` is when rendering began, by ``client.now()``. A ``body`` that is a function needs none: it is
    called after the moment was taken. The response then has the groups of what the function reads from
    layered caches; reading what must not reach the edge raises DataClassViolation. ``after`` is the receipt
    of a purge made before the rendering: the response counts as newer. It answers requests by ``method``:
    GET unless said, or by a rule with ``key_body`` QUERY or POST with the ``content`` that
    ``request_headers`` describe.
    """

    status: int
    headers: Mapping[str, str]
    groups: Texts
    request_headers: Mapping[str, str]
    identity: Mapping[str, object]
    born: datetime
    after: Receipt
    method: str
    content: bytes


@dataclass(frozen=True)
class Options:
    """How a client works, beside where the API is.

    ``timeout`` is in seconds, for a call as a whole; ``None`` for no limit.
    """

    timeout: float | None = None
    retries: Retries = field(default_factory=Retries)
    audit: Auditor | None = None
    """Takes what is done; ``None`` for the file that the settings name, if any."""
    clock: Clock = field(default_factory=SystemClock)
    budget: RateBudget | None = None
    """``None`` for that of the process, which all clients with the same token share."""
