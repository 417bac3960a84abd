"""What rules ask of whoever carries them out: each step, and what is sent back."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from origin_sdk._process.reads import Reads
from origin_sdk.layers.process.flights import Flight
from origin_sdk.layers.process.load_graph import LoadNode
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.values.families import Key

__all__ = [
    "PENDING",
    "Ask",
    "AskMany",
    "Await",
    "Flow",
    "Follow",
    "FollowAll",
    "Load",
    "PurgeEdge",
    "Replicate",
    "Step",
    "Wait",
]


@dataclass(slots=True)
class Ask:
    """Ask Redis. Sent back: the reply, or FAILED."""

    command: Command


@dataclass(slots=True)
class AskMany:
    """Ask Redis, in one round trip where it can be. Sent back: the replies."""

    commands: Sequence[Command]


@dataclass(slots=True)
class Load:
    """Call the loader, which notes in ``reads`` what it reads from caches.

    Sent back: what it returns; thrown in: what it raises.
    """

    loader: Callable[[Any], Any]
    argument: Any
    reads: Reads
    node: LoadNode | None


@dataclass(slots=True)
class Wait:
    """Wait until other processes have loaded keys.

    The commands are asked once the driver listens, so that no message is missed. Their replies are sent back
    when there was a message of each key, or the seconds that they tell to wait are over.
    """

    names: Sequence[str]
    commands: Sequence[Command]
    seconds_of: Callable[[Sequence[Any]], float]
    """For how long to wait after these replies; 0 if there is something to be done."""


@dataclass(slots=True)
class Follow:
    """Join who loads a key. Sent back: the flight, whether the caller leads it, whether it ended in time."""

    key: Key[Any]
    seconds: float | None


@dataclass(slots=True)
class FollowAll:
    """Wait for loads of this process. Sent back: whether all ended in time."""

    flights: Sequence[Flight]
    seconds: float | None


@dataclass(slots=True)
class Await:
    """Wait for a load in the background. Sent back: its entry, or PENDING."""

    future: Any
    seconds: float | None


@dataclass(slots=True)
class PurgeEdge:
    """PurgeEdge at the edge. Sent back: the receipt, None without an edge."""

    groups: list[str]
    urls: list[str]


@dataclass(slots=True)
class Replicate:
    """Ask Redis, and wait for replicas. Sent back: the replies, and how many replicas at least had it."""

    commands: Sequence[Command]


PENDING: Final = object()
"""What is waited for isn't there yet."""


Step: TypeAlias = Ask | AskMany | Await | Follow | FollowAll | Load | PurgeEdge | Replicate | Wait


_Result = TypeVar("_Result")


Flow: TypeAlias = Generator[Step, Any, _Result]
