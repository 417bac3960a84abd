"""What rules ask of whoever carries them out: each step, and what it is answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from origin_sdk._flow import Flow, Step
from origin_sdk._process.reads import Reads
from origin_sdk.layers.process.background import BackgroundLoad
from origin_sdk.layers.process.flights import Flight
from origin_sdk.layers.process.load_graph import LoadNode
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.redis.commands import Command, Reply
from origin_sdk.layers.redis.replies import Failed
from origin_sdk.layers.values.families import AnyKey

__all__ = [
    "PENDING",
    "Ask",
    "AskMany",
    "Await",
    "Flow",
    "Follow",
    "FollowAll",
    "Load",
    "Pending",
    "PurgeEdge",
    "Replicate",
    "Step",
    "Wait",
]

_Argument = TypeVar("_Argument")


class Pending(Enum):
    """What is waited for isn't there yet."""

    PENDING = "pending"


PENDING: Final = Pending.PENDING


@dataclass(slots=True)
class Ask(Step[Reply | Failed], Generic[Reply]):
    """Ask Redis. Answered with the reply, or FAILED."""

    command: Command[Reply]


@dataclass(slots=True)
class AskMany(Step[list[Reply | Failed]], Generic[Reply]):
    """Ask Redis, in one round trip where it can be. Answered with the replies."""

    commands: Sequence[Command[Reply]]


@dataclass(slots=True)
class Replicate(Step[tuple[list[Reply | Failed], int]], Generic[Reply]):
    """Ask Redis, and wait for replicas. Answered with the replies, and how many replicas at least had it."""

    commands: Sequence[Command[Reply]]


@dataclass(slots=True)
class Load(Step[object], Generic[_Argument]):
    """Call the loader, which notes in ``reads`` what it reads from caches. Answered with what it returns."""

    loader: Callable[[_Argument], object]
    argument: _Argument
    reads: Reads
    node: LoadNode


@dataclass(slots=True)
class Wait(Step[list[Reply | Failed]], Generic[Reply]):
    """Wait until other processes have loaded keys.

    The commands are asked once the driver listens, so that no message is missed. Answered with their replies
    when there was a message of each key, or the seconds that they tell to wait are over.
    """

    names: Sequence[str]
    commands: Sequence[Command[Reply]]
    seconds_of: Callable[[Sequence[Reply | Failed]], float]
    """For how long to wait after these replies; 0 if there is something to be done."""


@dataclass(slots=True)
class Follow(Step[tuple[Flight, bool, bool]]):
    """Join who loads a key. Answered with the flight, whether the caller leads it, and whether it ended."""

    key: AnyKey
    seconds: float | None


@dataclass(slots=True)
class FollowAll(Step[bool]):
    """Wait for loads of this process. Answered with whether all ended in time."""

    flights: Sequence[Flight]
    seconds: float | None


@dataclass(slots=True)
class Await(Step[MemoryEntry | Pending | None]):
    """Wait for a load in the background. Answered with its entry, or PENDING."""

    future: BackgroundLoad
    seconds: float | None


@dataclass(slots=True)
class PurgeEdge(Step[object]):
    """Purge at the edge. Answered with the receipt; None without an edge."""

    groups: list[str]
    urls: list[str]
