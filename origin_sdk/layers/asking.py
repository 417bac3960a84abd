"""Carry out commands with redis-py, and say so when Redis can't. Nothing here raises."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Final

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from origin_sdk.layers.link import Link
from origin_sdk.layers.packing import packed, packed_read, words
from origin_sdk.layers.scripts import Command

__all__ = ["ERRORS", "FAILED", "AsyncRedisCaller", "Failed", "RedisCaller"]


class Failed:
    """No answer, or an error: the layer is left out."""


FAILED: Final = Failed()

_TURNS: Final = 2
"""Turns of the loop before it is left to sleep until Redis answers, which then has mostly done so: falling
asleep and being woken costs more on a busy machine, and others who are ready get these turns."""
_TASKS_AT_ONCE: Final = 16
"""Commands of one event loop that wait for Redis at a time: more would wait for the loop instead."""
_TURN: Final = 10.0
"""How long to wait for one's turn, in times of a call: those before are many, and Redis answers them."""
_LOST = (AttributeError, LookupError, RedisClusterException)
"""What redis-py's cluster clients raise, too, when a node is lost under them."""
ERRORS = (*_LOST, OSError, RedisError)
_AWAY = (
    *_LOST,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OSError,
    ReadOnlyError,
    RedisConnectionError,
    RedisTimeoutError,
    TimeoutError,
)


class _CrowdedError(RedisError):
    """This process asks more than it can ask; that is no fault of Redis."""


class _AwayError(RedisError):
    """Redis was left out while this call waited for its turn."""


def _at_once(link: Link) -> int:
    """Return how many may ask at a time: as many connections lie idle at most, and none is waited for."""
    return max(1, link.options.max_connections // 2)


class _Turns:
    """Lets so many threads ask at a time.

    A crowd must not look like a Redis that is slow. If that is slow, those before end in time.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._seconds = link.options.timeout * _TURN
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(_at_once(link)):
            self._free.put(None)

    def __enter__(self) -> None:
        try:
            self._free.get(timeout=self._seconds)
        except Empty as error:
            raise _CrowdedError("too many threads ask Redis at once") from error
        if not self._link.is_up:
            self._free.put(None)
            raise _AwayError

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


def _failed(link: Link, error: Exception) -> Failed:
    if isinstance(error, _AwayError):
        return FAILED
    if isinstance(error, MaxConnectionsError | _CrowdedError) or "No connection available" in str(error):
        link.stats.count("redis-busy", "", "")  # this process has too much to ask: no fault of Redis
    elif isinstance(error, _AWAY):
        link.trip(error)
    else:
        link.explain(error)
    link.stats.count("redis-error", "", "")
    return FAILED


def _below(link: Link, client: Any) -> list[Any]:
    """Return what redis-py doesn't close with a client that was made over a pool of connections."""
    if link.options.is_cluster:
        return []
    pool = client.connection_pool
    return [pool, *(pool.sentinel_manager.sentinels if hasattr(pool, "sentinel_manager") else ())]


def _answer_of(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


async def _awaited_answer_of(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class RedisCaller:
    """Asks Redis in the calling thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None
        self._idle: list[Any] = []
        """Connections of the client's pool, kept for reads."""
        self._most_idle = link.options.max_connections // 2
        self._turns = _Turns(link)
        self._lock = Lock()

    def client(self) -> Any:
        """Return the client; that of a cluster connects when it is made."""
        if self._client is None:
            with self._lock:  # a client that nobody keeps closes its connections, whoever uses them
                if self._client is None:
                    self._client = self._link.options.client()
        return self._client

    def ask(self, command: Command) -> Any:
        """Return the reply, or FAILED."""
        if not self._link.is_up:
            return FAILED
        try:
            with self._turns:
                if command.script is None and not self._link.options.is_cluster:
                    return self._read(packed_read(command))
                with self._link.options.bounded():
                    return self.demand(command)
        except ERRORS as error:
            return _failed(self._link, error)

    def _read(self, packed: bytes) -> Any:
        """Read as redis-py does, without what its client adds to each command: nearly half of the time."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._read_with(self.client().connection_pool.get_connection(), packed)
        try:
            return self._read_with(connection, packed)
        except RedisConnectionError:
            # Redis closes connections that are long idle. A timeout is another error, and not tried again.
            return self._read_with(self.client().connection_pool.get_connection(), packed)

    def _read_with(self, connection: Any, packed: bytes) -> Any:
        try:
            connection.send_packed_command((packed,))
            reply = connection.read_response()
        except BaseException:
            connection.disconnect()
            self.client().connection_pool.release(connection)
            raise
        if len(self._idle) < self._most_idle:
            self._idle.append(connection)
        else:
            self.client().connection_pool.release(connection)
        return reply

    def demand(self, command: Command) -> Any:
        """Return the reply, or raise what redis-py raises."""
        client = self.client()
        try:
            return client.execute_command(*words(command))
        except NoScriptError:
            return client.execute_command(*words(command, is_source=True))

    def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip to each node."""
        if not self._link.is_up:
            return [FAILED] * len(commands)
        if len(commands) == 1:
            return [self.ask(commands[0])]
        try:
            with self._turns, self._link.options.bounded():
                replies, _ = self._ask_nodes(commands)
        except ERRORS as error:
            return [_failed(self._link, error)] * len(commands)
        return [self._settled(command, reply) for command, reply in zip(commands, replies, strict=True)]

    def ask_replicated(self, commands: Sequence[Command]) -> tuple[list[Any], int]:
        """Return the replies, and how many replicas of each node at least had it all in half of the time."""
        options = self._link.options
        if not self._link.is_up:
            return [FAILED] * len(commands), 0
        wait = ("WAIT", options.wait_replicas, max(1, round(options.timeout * 500)))
        try:
            with self._turns, options.bounded():
                replies, counts = self._ask_nodes(commands, wait)
        except ERRORS as error:
            return [_failed(self._link, error)] * len(commands), 0
        settled = [self._settled(command, reply) for command, reply in zip(commands, replies, strict=True)]
        return settled, min(count if isinstance(count, int) else 0 for count in counts)

    def _ask_nodes(
        self, commands: Sequence[Command], last: tuple[Any, ...] = ()
    ) -> tuple[list[Any], list[Any]]:
        """Write to all nodes before any is waited for; errors are among the replies.

        ``last`` is asked of each node after its commands; the replies to it are in the second list.
        """
        replies: list[Any] = [FAILED] * len(commands)
        ends: list[Any] = []
        with ExitStack() as borrowed:
            unread = []
            for pool, places in self._pools(commands).items():
                connection = pool.get_connection()
                borrowed.callback(pool.release, connection)
                unread.append((connection, places))
            try:
                for connection, places in unread:
                    all_words = [words(commands[place], is_source=bool(last)) for place in places]
                    all_words += [last] if last else []
                    connection.send_packed_command((b"".join(map(packed, all_words)),))
                for connection, places in unread:
                    for place in places:
                        replies[place] = _answer_of(connection)
                    if last:
                        ends.append(_answer_of(connection))
            except BaseException:
                for connection, _ in unread:
                    connection.disconnect()
                raise
        return replies, ends

    def _pools(self, commands: Sequence[Command]) -> dict[Any, list[int]]:
        """Return where to send the commands: each pool with their places."""
        client = self.client()
        if not self._link.options.is_cluster:
            return {client.connection_pool: list(range(len(commands)))}
        pools: dict[Any, list[int]] = {}
        for place, command in enumerate(commands):
            node = client.get_node_from_key(command.keys[0])
            pools.setdefault(client.get_redis_connection(node).connection_pool, []).append(place)
        return pools

    def _settled(self, command: Command, reply: Any) -> Any:
        if isinstance(reply, (NoScriptError, AskError, MovedError, TryAgainError)):
            return self.ask(command)
        return _failed(self._link, reply) if isinstance(reply, Exception) else reply

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            while self._idle:
                self._client.connection_pool.release(self._idle.pop())
            self._client.close()
            for each in _below(self._link, self._client):
                each.close()


class AsyncRedisCaller:
    """Asks Redis in the running event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None
        self._idle: list[Any] = []
        self._most_idle = link.options.max_connections // 2
        self._in_thread = RedisCaller(link)
        self._late: set[asyncio.Future[Any]] = set()
        """What a cluster was asked for and hasn't answered in time."""
        self._turns = asyncio.Semaphore(min(_TASKS_AT_ONCE, _at_once(link)))

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
            return await self._in_time(partial(self._demand, command))
        except ERRORS as error:
            return _failed(self._link, error)

    async def _in_time(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Ask within the time of a call, once it is this one's turn."""
        seconds = self._link.options.timeout
        await self._turn(seconds * _TURN)
        try:
            if not self._link.is_up:
                raise _AwayError
            if self._link.options.is_cluster:
                return await self._of_cluster(ask())
            # One bound on all of it, connecting included; redis-py's own makes a task for each write.
            async with asyncio.timeout(seconds):
                return await ask()
        except TimeoutError as error:
            if self._link.options.is_cluster:
                raise
            # Either Redis is late or this loop: the listener's thread can tell.
            self._link.is_doubted = True
            raise _CrowdedError("Redis wasn't heard in time") from error
        finally:
            self._turns.release()

    async def _turn(self, seconds: float) -> None:
        """Wait for a turn, as threads do."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise _CrowdedError("too many tasks ask Redis at once") from error

    async def _of_cluster(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Bound the time of the caller.

        A cluster's client leaves connections open when it is cancelled, and asks its nodes for the way one
        after the other: it goes on by itself, with a bound on each of its steps.
        """
        task = asyncio.ensure_future(asking)
        self._late.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait((task,), timeout=self._link.options.timeout)
        if not done:
            raise TimeoutError("the cluster didn't answer in time")
        return task.result()

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # of which nobody may want to know any more

    async def _demand(self, command: Command) -> Any:
        if command.script is None and not self._link.options.is_cluster:
            return await self._read(packed_read(command))
        client = self.client()
        try:
            return await client.execute_command(*words(command))
        except NoScriptError:
            return await client.execute_command(*words(command, is_source=True))

    async def _read(self, packed: bytes) -> Any:
        """Read as redis-py does, without what its client adds to each command."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return await self._read_with(await self.client().connection_pool.get_connection(), packed)
        try:
            return await self._read_with(connection, packed)
        except RedisConnectionError:
            # Redis closes connections that are long idle. A timeout is another error, and not tried again.
            return await self._read_with(await self.client().connection_pool.get_connection(), packed)

    async def _read_with(self, connection: Any, packed: bytes) -> Any:
        try:
            await connection.send_packed_command(packed)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            reply = await connection.read_response()
        except BaseException:
            # Cancelled halfway, it would hand this reply to the next caller.
            await connection.disconnect(nowait=True)
            await self.client().connection_pool.release(connection)
            raise
        if len(self._idle) < self._most_idle:
            self._idle.append(connection)
        else:
            await self.client().connection_pool.release(connection)
        return reply

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip to each node."""
        if not self._link.is_up:
            return [FAILED] * len(commands)
        if len(commands) == 1:
            return [await self.ask(commands[0])]
        try:
            replies = await self._in_time(partial(self._ask_nodes, commands))
        except ERRORS as error:
            return [_failed(self._link, error)] * len(commands)
        return [
            await self.ask(command) if isinstance(reply, NoScriptError) else self._settled(reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _ask_nodes(self, commands: Sequence[Command]) -> list[Any]:
        """Write all before any is waited for; errors are among the replies."""
        if self._link.options.is_cluster:
            pipeline = self.client().pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*words(command))
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies
        pool = self.client().connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(b"".join(packed(words(command)) for command in commands))
            return [await _awaited_answer_of(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def ask_replicated(self, commands: Sequence[Command]) -> tuple[list[Any], int]:
        """Return the replies, and how many replicas of each node at least had it all in half of the time.

        In a thread: to wait for replicas takes one connection from the first command to the last.
        """
        return await asyncio.to_thread(self._in_thread.ask_replicated, commands)

    def _settled(self, reply: Any) -> Any:
        return _failed(self._link, reply) if isinstance(reply, Exception) else reply

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*self._late, return_exceptions=True)
        await asyncio.to_thread(self._in_thread.close)
        if self._client is not None:
            while self._idle:
                await self._client.connection_pool.release(self._idle.pop())
            await self._client.aclose()
            if self._link.options.is_cluster:  # which closes nothing where it had lost the way
                await self._client.nodes_manager.aclose("nodes_cache")
                await self._client.nodes_manager.aclose("startup_nodes")
            for each in _below(self._link, self._client):
                await each.aclose()
