"""What the flows ask of the world.

A flow is a generator that holds all the rules of talking to the API and does no input or output: it yields a
step, and is sent what came of it. :mod:`origin_sdk._cloudflare.drivers` does the steps, once for threads and
once for asyncio.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

__all__ = ["Answer", "Call", "Failure", "Flow", "Pause", "Progress", "Reply", "Step"]


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to the API. ``seconds`` is how long its answer may take."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` things are done; ``total`` is 0 where it isn't known."""

    done: int
    total: int = 0


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


Step: TypeAlias = Call | Pause | Progress
Answer: TypeAlias = Reply | Failure | None
"""To a call comes a reply or a failure, to anything else ``None``."""

_Result = TypeVar("_Result")
Flow: TypeAlias = Generator[Step, Answer, _Result]
