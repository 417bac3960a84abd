"""What it means that Redis gave no answer: whose fault it is, and whether it may be asked again."""

from collections.abc import Sequence
from typing import Any, Final, cast

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from origin_sdk.layers.redis.commands import AnyCommand, Command, Reply
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.replies import FAILED, Failed

__all__ = [
    "ASK_AGAIN",
    "ERRORS",
    "LOST",
    "TURN_TIMEOUTS",
    "AwayError",
    "CrowdedError",
    "failed",
    "instead_of_reply",
    "is_full",
    "is_older",
    "may_repeat",
    "most_at_once",
    "unclosed",
]

TURN_TIMEOUTS: Final = 10.0
"""How long to wait for one's turn, in timeouts of a call: many are before, and Redis answers them."""


LOST = (AttributeError, LookupError, RedisClusterException, ValueError)
"""What redis-py's cluster clients raise, too, when a node is lost under them: one thread closes what others
read from."""


ERRORS = (*LOST, OSError, RedisError)


AWAY = (
    *LOST,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OSError,
    ReadOnlyError,
    RedisConnectionError,
    RedisTimeoutError,
    TimeoutError,
)


_EPOCH: Final = "origin_sdk_epoch"
_LATE: Final = "LATE"
"""In what a script says that was asked too late to write."""
ASK_AGAIN = (NoScriptError, AskError, MovedError, TryAgainError)
"""What redis-py's client knows how to deal with, one command at a time."""


class CrowdedError(RedisError):
    """This process asks more than it can ask; that is no fault of Redis."""


class AwayError(RedisError):
    """Redis was left out while this call waited for its turn."""


def most_at_once(link: Link) -> int:
    """Return how many may ask at a time: as many connections lie idle at most, and none is waited for."""
    return max(1, link.options.max_connections // 2)


def may_repeat(error: object, command: AnyCommand) -> bool:
    """Whether a connection broke, which Redis closes as it ends or finds them idle: another may do."""
    return type(error) is RedisConnectionError and (command.script is None or command.script.may_repeat)


def is_older(connection: object, epoch: int) -> bool:
    """Whether a connection is of an epoch before this one; it is of this one from now on.

    Whoever has taken it alone may ask, and connect again: redis-py's own way to let all idle ones of a pool
    go takes some from under those who take them at the same time.
    """
    before = getattr(connection, _EPOCH, epoch)
    setattr(connection, _EPOCH, epoch)
    return bool(before != epoch)


def is_full(error: Exception) -> bool:
    """Whether Redis refused to write since it has no memory left."""
    return isinstance(error, OutOfMemoryError) or "OOM" in str(error)


def failed(link: Link, error: Exception, commands: Sequence[AnyCommand]) -> Failed:
    """Note why there is no answer. That one call had none says little: the listener finds out about Redis."""
    if isinstance(error, AwayError):
        return FAILED
    if isinstance(error, MaxConnectionsError | CrowdedError) or "No connection available" in str(error):
        link.stats.count("redis-busy", "", "")  # this process has too much to ask: no fault of Redis
    elif isinstance(error, AWAY):
        if isinstance(error, TimeoutError | RedisTimeoutError):
            link.say_slow(_described(commands), error)
        link.doubt({link.layout.shard_of(command) for command in commands})
    else:
        if _LATE in str(error):  # though the reply came in time: its clock has been stepped
            link.doubt({link.layout.shard_of(command) for command in commands})
        link.explain(error)
    link.stats.count("redis-error", "", "")
    return FAILED


def instead_of_reply(link: Link, error: Exception, command: Command[Reply]) -> Reply | Failed:
    """Return what an error comes to: garbage of another type is nothing to read, else there is no answer."""
    if command.script is None and "WRONGTYPE" in str(error):
        return cast("Reply", None)
    return failed(link, error, (command,))


def unclosed(link: Link, client: Any) -> list[Any]:
    """Return what redis-py doesn't close with a client that was made over a pool of connections."""
    if link.options.is_cluster:
        nodes = client.nodes_manager
        known = {
            # Before redis-py 7 nodes have no hash.
            id(node): node
            for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values())
        }.values()
        clients = [client for node in known if (client := getattr(node, "redis_connection", None))]
        return [each.connection_pool for each in clients]
    pool = client.connection_pool
    return [pool, *(pool.sentinel_manager.sentinels if hasattr(pool, "sentinel_manager") else ())]


def _described(commands: Sequence[AnyCommand]) -> str:
    """Return what was asked: the first command, its value's key and size, and how many more there were."""
    command = commands[0]
    size = sum(len(part) for part in command.arguments if isinstance(part, bytes))
    values = [key for key in command.keys if "}e:" in key]
    more = len(commands) - 1 + max(0, len(values) - 1)
    name = command.script.name if command.script else command.arguments[0]
    sizes = f" of {size:,} bytes" if size else ""
    return f"{name} {(values or command.keys)[0]}{sizes}{f' and {more} more' if more else ''}"
