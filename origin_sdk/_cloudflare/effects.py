"""What the flows that talk to the API ask of the world.

They hold all the rules, and do no input or output (:mod:`origin_sdk._flow`).
:mod:`origin_sdk._cloudflare.drivers` carries these steps out, once for threads and once for asyncio.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from origin_sdk._flow import Step

__all__ = ["Answer", "Call", "EdgeCall", "Failure", "Pause", "Progress", "Reply", "Work"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response. ``sent_at`` and ``received_at`` are this machine's seconds since the epoch.

    Names in lower case.
    """

    status: int
    fields: Mapping[str, str]
    body: bytes
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """No response came."""

    reason: str


Answer: TypeAlias = Reply | Failure
"""What comes of a call."""


@dataclass(frozen=True, slots=True)
class Call(Step[Answer]):
    """An HTTP request to the API. ``seconds`` is how long its answer may take."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    seconds: float = 30.0
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeCall(Call):
    """An HTTP request to the Worker itself: the API's token doesn't go with it."""


@dataclass(frozen=True, slots=True)
class Pause(Step[None]):
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work(Step[_Result], Generic[_Result]):
    """Compute what takes long: an event loop goes on meanwhile."""

    compute: Callable[[], _Result]


@dataclass(frozen=True, slots=True)
class Progress(Step[None]):
    """``done`` of ``total`` things are done; ``total`` is 0 where it isn't known."""

    done: int
    total: int = 0
