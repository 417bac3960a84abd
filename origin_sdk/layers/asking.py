"""Carry out commands with redis-py, and say so when Redis can't. Nothing here raises."""

from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MaxConnectionsError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from origin_sdk.layers.link import Link
from origin_sdk.layers.scripts import Command

__all__ = ["FAILED", "AsyncRedisCaller", "Failed", "RedisCaller"]


class Failed:
    """No answer, or an error: the layer is left out."""


FAILED: Final = Failed()

_AWAY = (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OSError,
    ReadOnlyError,
    RedisClusterException,
    RedisConnectionError,
    RedisTimeoutError,
    TimeoutError,
)


def words(command: Command, *, is_source: bool = False) -> tuple[Any, ...]:
    """Return a command as Redis takes it; a script by its source where its hash isn't known."""
    script = command.script
    if script is None:
        return (*command.arguments[:1], *command.keys, *command.arguments[1:])
    head = ("EVAL", script.source) if is_source else ("EVALSHA", script.sha)
    return (*head, len(command.keys), *command.keys, *command.arguments)


def _failed(link: Link, error: Exception) -> Failed:
    if isinstance(error, MaxConnectionsError) or "No connection available" in str(error):
        link.stats.count("redis-busy", "", "")  # this process has too much to ask: no fault of Redis
    elif isinstance(error, _AWAY):
        link.trip(error)
    link.stats.count("redis-error", "", "")
    return FAILED


def _below(link: Link, client: Any) -> list[Any]:
    """Return what redis-py doesn't close with a client that was made over a pool of connections."""
    if link.options.is_cluster:
        return []
    pool = client.connection_pool
    return [pool, *(pool.sentinel_manager.sentinels if hasattr(pool, "sentinel_manager") else ())]


class RedisCaller:
    """Asks Redis in the calling thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None

    def client(self) -> Any:
        """Return the client; that of a cluster connects when it is made."""
        if self._client is None:
            self._client = self._link.options.client()
        return self._client

    def ask(self, command: Command) -> Any:
        """Return the reply, or FAILED."""
        if not self._link.is_up:
            return FAILED
        try:
            return self.demand(command)
        except (RedisError, OSError) as error:
            return _failed(self._link, error)

    def demand(self, command: Command) -> Any:
        """Return the reply, or raise what redis-py raises."""
        client = self.client()
        try:
            return client.execute_command(*words(command))
        except NoScriptError:
            return client.execute_command(*words(command, is_source=True))

    def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip where Redis is one server."""
        if not self._link.is_up:
            return [FAILED] * len(commands)
        if self._link.options.is_cluster or len(commands) == 1:
            return [self.ask(command) for command in commands]
        try:
            pipeline = self.client().pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*words(command))
            replies = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            return [_failed(self._link, error)] * len(commands)
        return [self._settled(command, reply) for command, reply in zip(commands, replies, strict=True)]

    def _settled(self, command: Command, reply: Any) -> Any:
        if isinstance(reply, NoScriptError):
            return self.ask(command)
        return _failed(self._link, reply) if isinstance(reply, Exception) else reply

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            for each in _below(self._link, self._client):
                each.close()


class AsyncRedisCaller:
    """Asks Redis in the running event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None

    def client(self) -> Any:
        """Return the client."""
        if self._client is None:
            self._client = self._link.options.async_client()
        return self._client

    async def ask(self, command: Command) -> Any:
        """Return the reply, or FAILED."""
        if not self._link.is_up:
            return FAILED
        try:
            client = self.client()
            try:
                return await client.execute_command(*words(command))
            except NoScriptError:
                return await client.execute_command(*words(command, is_source=True))
        except (RedisError, OSError) as error:
            return _failed(self._link, error)

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip where Redis is one server."""
        if not self._link.is_up:
            return [FAILED] * len(commands)
        if self._link.options.is_cluster or len(commands) == 1:
            return [await self.ask(command) for command in commands]
        try:
            pipeline = self.client().pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*words(command))
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            return [_failed(self._link, error)] * len(commands)
        return [
            await self.ask(command) if isinstance(reply, NoScriptError) else self._settled(reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    def _settled(self, reply: Any) -> Any:
        return _failed(self._link, reply) if isinstance(reply, Exception) else reply

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            for each in _below(self._link, self._client):
                await each.aclose()
