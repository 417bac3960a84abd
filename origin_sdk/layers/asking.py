"""Carry out commands with redis-py, and say so when Redis can't. Nothing here raises."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
    OutOfMemoryError,
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
from origin_sdk.layers.replies import FAILED, Failed
from origin_sdk.layers.scripts import Command

__all__ = ["ERRORS", "AsyncRedisCaller", "RedisCaller", "is_full"]


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


_ASK_AGAIN = (NoScriptError, AskError, MovedError, TryAgainError)
"""What redis-py's client knows how to deal with, one command at a time."""


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
        self._seconds = link.options.timeout * _TURN
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(_at_once(link)):
            self._free.put(None)

    def __enter__(self) -> None:
        try:
            self._free.get(timeout=self._seconds)
        except Empty as error:
            raise _CrowdedError("too many threads ask Redis at once") from error

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


def _may_repeat(error: object, command: Command) -> bool:
    """Whether a connection broke, which Redis closes as it ends or finds them idle: another may do."""
    return type(error) is RedisConnectionError and (command.script is None or command.script.may_repeat)


def is_full(error: Exception) -> bool:
    """Whether Redis refused to write since it has no memory left."""
    return isinstance(error, OutOfMemoryError) or "OOM" in str(error)


def _failed(link: Link, error: Exception, commands: Sequence[Command]) -> Failed:
    """Note why there is no answer. That one call had none says little: the listener finds out about Redis."""
    if isinstance(error, _AwayError):
        return FAILED
    if isinstance(error, MaxConnectionsError | _CrowdedError) or "No connection available" in str(error):
        link.stats.count("redis-busy", "", "")  # this process has too much to ask: no fault of Redis
    elif isinstance(error, _AWAY):
        if isinstance(error, TimeoutError | RedisTimeoutError):
            link.say_slow(_described(commands), error)
        link.doubt({link.layout.shard_of(command) for command in commands})
    else:
        link.explain(error)
    link.stats.count("redis-error", "", "")
    return FAILED


def _described(commands: Sequence[Command]) -> str:
    """Return what was asked: the first command, its key and its size, and how many more there were."""
    command = commands[0]
    size = sum(len(part) for part in command.arguments if isinstance(part, bytes))
    more = f" and {len(commands) - 1} more" if len(commands) > 1 else ""
    name = command.script.name if command.script else command.arguments[0]
    return f"{name} {command.keys[0]}{f' of {size:,} bytes' if size else ''}{more}"


def _below(link: Link, client: Any) -> list[Any]:
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
        self._epoch = link.epoch
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
        up, shard = self._link.up, self._link.layout.shard_of(command)
        if not up[shard]:
            return FAILED
        try:
            with self._turns:
                if not up[shard]:
                    raise _AwayError
                if command.script is None and not self._link.options.is_cluster:
                    return self._read(packed_read(command))
                with self._link.options.bounded():
                    return self.demand(command)
        except ERRORS as error:
            return _failed(self._link, error, (command,))

    def _renew(self) -> None:
        """Let go of connections that are as old as one that broke."""
        with self._lock:
            self._epoch = self._link.epoch
            idle, self._idle = self._idle, []
        pool = self.client().connection_pool
        for connection in idle:
            connection.disconnect()
            pool.release(connection)
        pool.disconnect(inuse_connections=False)

    def _read(self, packed: bytes) -> Any:
        """Read as redis-py does, without what its client adds to each command: nearly half of the time."""
        if self._epoch != self._link.epoch:
            self._renew()
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
        if self._epoch != self._link.epoch:
            connection.disconnect()
        elif len(self._idle) < self._most_idle:
            self._idle.append(connection)
            return reply
        self.client().connection_pool.release(connection)
        return reply

    def demand(self, command: Command) -> Any:
        """Return the reply, or raise what redis-py raises."""
        client, until = self.client(), self._until(command)
        try:
            return client.execute_command(*words(command, until))
        except NoScriptError:
            return client.execute_command(*words(command, until, is_source=True))
        except RedisConnectionError as error:
            self._link.epoch += 1
            if not _may_repeat(error, command):
                raise
            return client.execute_command(*words(command, until, is_source=command.script is not None))

    def _until(self, command: Command) -> str:
        return self._link.deadline(self._link.layout.shard_of(command)) if command.expires else ""

    def demand_each(self, commands: Sequence[Command]) -> list[Any]:
        """Return replies or errors in order; a node that fails fails for its own commands alone."""
        try:
            with self._link.options.bounded():
                replies, _ = self._ask_nodes(commands)
        except ERRORS as error:
            return [error] * len(commands)
        for place, reply in enumerate(replies):
            if isinstance(reply, _ASK_AGAIN):
                try:
                    replies[place] = self.demand(commands[place])
                except ERRORS as error:
                    replies[place] = error
        return replies

    def find_nodes(self) -> None:
        """Find out which nodes a cluster has now."""
        if self._link.options.is_cluster and self._client is not None:
            with suppress(*ERRORS):
                self._client.nodes_manager.initialize()

    def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip to each node."""
        if len(commands) == 1:
            return [self.ask(commands[0])]
        return self._ask_up(commands, ())[0]

    def ask_replicated(self, commands: Sequence[Command]) -> tuple[list[Any], int]:
        """Return the replies, and how many replicas of each node at least had it all in half of the time."""
        options = self._link.options
        wait = ("WAIT", options.wait_replicas, max(1, round(options.timeout * 500)))
        replies, counts = self._ask_up(commands, wait)
        return replies, min((count if isinstance(count, int) else 0 for count in counts), default=0)

    def _ask_up(self, commands: Sequence[Command], last: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """Ask of the shards that are up; FAILED stands for the others."""
        link = self._link
        places = [place for place, each in enumerate(commands) if link.up[link.layout.shard_of(each)]]
        settled: list[Any] = [FAILED] * len(commands)
        if not places:
            return settled, []
        asked = [commands[place] for place in places]
        with link.options.bounded():
            try:
                with self._turns:
                    replies, ends = self._ask_nodes(asked, last)
            except ERRORS as error:
                _failed(link, error, asked)
                return settled, []
            broken = FAILED
            for place, command, reply in zip(places, asked, replies, strict=True):
                if _may_repeat(reply, command) and broken is not reply:
                    settled[place] = self.ask(command)
                    broken = reply if settled[place] is FAILED else broken
                else:
                    settled[place] = self._settled(command, reply)
        return settled, ends if len(asked) == len(commands) else []

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
            try:
                for pool, places in self._pools(commands).items():
                    with self._losing(places, replies, ends):
                        connection = pool.get_connection()
                        borrowed.callback(pool.release, connection)
                        unread.append((connection, places))
                for connection, places in unread:
                    parts = [self._words(commands[place], is_source=bool(last)) for place in places]
                    parts += [last] if last else []
                    with self._losing(places, replies, ends, connection):
                        connection.send_packed_command((b"".join(map(packed, parts)),))
                for connection, places in unread:
                    with self._losing(places, replies, ends, connection):
                        for place in places:
                            if replies[place] is FAILED:
                                replies[place] = _answer_of(connection)
                        if last:
                            ends.append(_answer_of(connection))
            except BaseException:
                for connection, _ in unread:
                    connection.disconnect()
                raise
        return replies, ends

    def _words(self, command: Command, *, is_source: bool) -> tuple[Any, ...]:
        return words(command, self._until(command), is_source=is_source)

    @staticmethod
    @contextmanager
    def _losing(
        places: Sequence[int], replies: list[Any], ends: list[Any], connection: Any = None
    ) -> Iterator[None]:
        """Let a node that fails fail alone: its error is the reply to what it hasn't answered by then."""
        try:
            yield
        except ERRORS as error:
            if connection is not None:
                connection.disconnect()
            for place in places:
                if replies[place] is FAILED:
                    replies[place] = error
            ends.append(error)

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
        if isinstance(reply, _ASK_AGAIN):
            return self.ask(command)
        return _failed(self._link, reply, (command,)) if isinstance(reply, Exception) else reply

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            while self._idle:
                self._client.connection_pool.release(self._idle.pop())
            below = _below(self._link, self._client)
            self._client.close()
            for each in below:
                each.close()


class AsyncRedisCaller:
    """Asks Redis in the running event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None
        self._idle: list[Any] = []
        self._most_idle = link.options.max_connections // 2
        self._epoch = link.epoch
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
        if not self._link.up[self._link.layout.shard_of(command)]:
            return FAILED
        try:
            return await self._in_time(partial(self._demand, command), (command,))
        except ERRORS as error:
            return _failed(self._link, error, (command,))

    async def _in_time(self, ask: Callable[[], Coroutine[Any, Any, Any]], commands: Sequence[Command]) -> Any:
        """Ask within the time of a call, once it is this one's turn."""
        link = self._link
        seconds = link.options.timeout
        await self._turn(seconds * _TURN)
        try:
            if not any(link.up[link.layout.shard_of(command)] for command in commands):
                raise _AwayError
            if self._link.options.is_cluster:
                return await self._of_cluster(ask())
            # One bound on all of it, connecting included; redis-py's own makes a task for each write.
            async with asyncio.timeout(seconds):
                return await ask()
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
        client, until = self.client(), self._until(command)
        try:
            return await client.execute_command(*words(command, until))
        except NoScriptError:
            return await client.execute_command(*words(command, until, is_source=True))
        except RedisConnectionError as error:
            self._link.epoch += 1
            if not _may_repeat(error, command):
                raise
            return await client.execute_command(*words(command, until, is_source=command.script is not None))

    def _until(self, command: Command) -> str:
        return self._link.deadline(self._link.layout.shard_of(command)) if command.expires else ""

    async def _renew(self) -> None:
        """Let go of connections that are as old as one that broke."""
        self._epoch = self._link.epoch
        idle, self._idle = self._idle, []
        pool = self.client().connection_pool
        for connection in idle:
            await connection.disconnect(nowait=True)
            await pool.release(connection)
        await pool.disconnect(inuse_connections=False)

    async def _read(self, packed: bytes) -> Any:
        """Read as redis-py does, without what its client adds to each command."""
        if self._epoch != self._link.epoch:
            await self._renew()
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
        if self._epoch != self._link.epoch:
            await connection.disconnect(nowait=True)
        elif len(self._idle) < self._most_idle:
            self._idle.append(connection)
            return reply
        await self.client().connection_pool.release(connection)
        return reply

    async def ask_many(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, in one round trip to each node."""
        if len(commands) == 1:
            return [await self.ask(commands[0])]
        link = self._link
        nodes: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            if link.up[link.layout.shard_of(command)]:
                nodes.setdefault(self._node(command), []).append(place)
        settled: list[Any] = [FAILED] * len(commands)
        some = [[commands[place] for place in places] for places in nodes.values()]
        if len(some) == 1:
            answers = [await self._ask_some(some[0])]
        else:
            answers = await asyncio.gather(*map(self._ask_some, some))
        for places, replies in zip(nodes.values(), answers, strict=True):
            for place, reply in zip(places, replies, strict=True):
                settled[place] = reply
        return settled

    def _node(self, command: Command) -> str:
        """Return the name of the node that a command goes to, as far as it is known."""
        if not self._link.options.is_cluster:
            return ""
        client = self.client()
        try:
            return str(client.nodes_manager.get_node_from_slot(client.keyslot(command.keys[0])).name)
        except _LOST:
            return ""

    async def _ask_some(self, commands: Sequence[Command]) -> list[Any]:
        """Ask a node."""
        try:
            replies = await self._in_time(partial(self._ask_again, commands), commands)
        except ERRORS as error:
            return [_failed(self._link, error, commands)] * len(commands)
        return [
            await self.ask(command) if isinstance(reply, NoScriptError) else self._settled(command, reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _ask_again(self, commands: Sequence[Command]) -> list[Any]:
        """Ask a node, by another connection if that one is broken."""
        try:
            return await self._ask_node(commands)
        except RedisConnectionError as error:
            if not all(_may_repeat(error, command) for command in commands):
                raise
            return await self._ask_node(commands)

    async def _ask_node(self, commands: Sequence[Command]) -> list[Any]:
        """Write all before any is waited for; errors are among the replies."""
        all_words = [words(command, self._until(command)) for command in commands]
        if self._link.options.is_cluster:
            pipeline = self.client().pipeline(transaction=False)
            for each in all_words:
                pipeline.execute_command(*each)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies
        pool = self.client().connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(b"".join(map(packed, all_words)))
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

    def _settled(self, command: Command, reply: Any) -> Any:
        return _failed(self._link, reply, (command,)) if isinstance(reply, Exception) else reply

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
