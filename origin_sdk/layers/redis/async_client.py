"""Redis, asked in an event loop. Nothing here raises but what a loop's own end does."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    ResponseError,
)

from origin_sdk._process.spans import are_wanted
from origin_sdk.layers.redis.client import RedisClient
from origin_sdk.layers.redis.commands import AnyCommand, Command, Reply
from origin_sdk.layers.redis.failures import (
    ERRORS,
    LOST,
    TURN_TIMEOUTS,
    AwayError,
    CrowdedError,
    failed,
    instead_of_reply,
    is_older,
    may_repeat,
    most_at_once,
    unclosed,
)
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.ports import AsyncConnection
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.reply_shapes import UnexpectedReplyError, checked
from origin_sdk.layers.redis.wire import packed, packed_read, words
from origin_sdk.layers.traces import failing, traced_redis

__all__ = ["AsyncRedisClient"]

_Answer = TypeVar("_Answer")

_TURNS: Final = 2
"""Turns of the loop before it is left to sleep until Redis answers, which then has mostly done so: falling
asleep and being woken costs more on a busy machine, and others who are ready get these turns."""


_TASKS_AT_ONCE: Final = 16
"""Commands of one event loop that wait for Redis at a time: more would wait for the loop instead."""


async def _awaited_answer_of(connection: AsyncConnection) -> object:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class AsyncRedisClient:
    """Asks Redis in the running event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Any = None
        self._idle: list[AsyncConnection] = []
        self._most_idle = link.options.max_connections // 2
        self._is_cluster = link.options.is_cluster
        self._epoch = link.epoch
        self._in_thread = RedisClient(link)
        self._late: set[asyncio.Task[object]] = set()
        """What a cluster was asked for and hasn't answered in time."""
        self._turns = asyncio.Semaphore(min(_TASKS_AT_ONCE, most_at_once(link)))

    def client(self) -> Any:
        """Return the client."""
        if self._client is None:
            self._client = self._link.options.async_client(self._link.found_primary)
        return self._client

    async def ask(self, command: Command[Reply]) -> Reply | Failed:
        """Return the reply, or FAILED."""
        if not are_wanted():
            return await self._ask(command)
        with traced_redis((command,)) as traced:
            reply = await self._ask(command)
            failing(traced, (reply,))
            return reply

    async def _ask(self, command: Command[Reply]) -> Reply | Failed:
        if not self._link.up[self._link.layout.shard_of(command)]:
            return FAILED
        try:
            return await self._in_time(partial(self._demand, command), (command,))
        except ERRORS as error:
            return instead_of_reply(self._link, error, command)

    async def _in_time(
        self, ask: Callable[[], Coroutine[object, None, _Answer]], commands: Sequence[AnyCommand]
    ) -> _Answer:
        """Ask within the time of a call, once it is this one's turn."""
        link = self._link
        seconds = link.options.timeout
        # Mostly it is at once, and costs less without a coroutine of its own.
        await (self._turn(seconds * TURN_TIMEOUTS) if self._turns.locked() else self._turns.acquire())
        try:
            if not link.asks_any(commands):
                raise AwayError
            if self._is_cluster:
                return await self._of_cluster(ask())
            # One bound on all of it, connecting included; redis-py's own makes a task for each write.
            async with asyncio.timeout(seconds):
                return await ask()
        finally:
            self._turns.release()

    async def _turn(self, seconds: float) -> None:
        """Wait for a turn, as threads do."""
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise CrowdedError("too many tasks ask Redis at once") from error

    async def _of_cluster(self, asking: Coroutine[object, None, _Answer]) -> _Answer:
        """Bound the time of the caller.

        A cluster's client leaves connections open when it is cancelled, and asks its nodes for the way one
        after the other: it goes on by itself, with a bound on each of its steps.
        """
        task = asyncio.create_task(asking)
        self._late.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait((task,), timeout=self._link.options.timeout)
        if not done:
            raise TimeoutError("the cluster didn't answer in time")
        return task.result()

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # of which nobody may want to know any more

    async def _demand(self, command: Command[Reply]) -> Reply:
        if command.script is None and not self._is_cluster:
            return cast("Reply", checked(command, await self._read(packed_read(command))))
        try:
            return await self._demand_once(command)
        except NoScriptError:
            return await self._demand_once(command, is_source=True)
        except RedisConnectionError as error:
            self._link.epoch += 1
            if not may_repeat(error, command):
                raise
            return await self._demand_once(command, is_source=command.script is not None)

    async def _demand_once(self, command: Command[Reply], *, is_source: bool = False) -> Reply:
        parts = words(command, self._until(command), is_source=is_source)
        if self._is_cluster:
            return cast("Reply", checked(command, await self.client().execute_command(*parts)))
        connection = await self._borrowed()
        try:
            await connection.send_packed_command(packed(parts))
            reply = await connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self.client().connection_pool.release(connection)
        return cast("Reply", checked(command, reply))

    def _until(self, command: AnyCommand) -> str:
        return self._link.deadline(self._link.layout.shard_of(command)) if command.expires else ""

    async def _renew(self) -> None:
        """Let go of connections that are as old as one that broke."""
        self._epoch = self._link.epoch
        idle, self._idle = self._idle, []
        pool = self.client().connection_pool
        for connection in idle:
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def _read(self, packed: bytes) -> Any:
        """Read as redis-py does, without what its client adds to each command."""
        if self._epoch != self._link.epoch:
            await self._renew()
        try:
            connection = self._idle.pop()
        except IndexError:
            return await self._read_with(await self._borrowed(), packed)
        try:
            return await self._read_with(connection, packed)
        except RedisConnectionError:
            # Redis closes connections that are long idle. A timeout is another error, and not tried again.
            return await self._read_with(await self._borrowed(), packed)

    async def _borrowed(self) -> AsyncConnection:
        """Take a connection of the pool; one that is as old as one that broke connects again."""
        connection: AsyncConnection = await self.client().connection_pool.get_connection()
        if is_older(connection, self._link.epoch):
            await connection.disconnect(nowait=True)
        return connection

    async def _read_with(self, connection: AsyncConnection, packed: bytes) -> object:
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

    async def ask_many(self, commands: Sequence[Command[Reply]]) -> list[Reply | Failed]:
        """Return the replies in order, in one round trip to each node."""
        if len(commands) == 1:
            return [await self.ask(commands[0])]
        if not are_wanted():
            return await self._ask_many(commands)
        with traced_redis(commands) as traced:
            replies = await self._ask_many(commands)
            failing(traced, replies)
            return replies

    async def _ask_many(self, commands: Sequence[Command[Reply]]) -> list[Reply | Failed]:
        link = self._link
        nodes: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            if link.up[link.layout.shard_of(command)]:
                nodes.setdefault(self._node(command), []).append(place)
        settled: list[Reply | Failed] = [FAILED] * len(commands)
        some = [[commands[place] for place in places] for places in nodes.values()]
        if len(some) == 1:
            answers = [await self._ask_some(some[0])]
        else:
            answers = await asyncio.gather(*map(self._ask_some, some))
        for places, replies in zip(nodes.values(), answers, strict=True):
            for place, reply in zip(places, replies, strict=True):
                settled[place] = reply
        return settled

    def _node(self, command: AnyCommand) -> str:
        """Return the name of the node that a command goes to, as far as it is known."""
        if not self._is_cluster:
            return ""
        client = self.client()
        try:
            return str(client.nodes_manager.get_node_from_slot(client.keyslot(command.keys[0])).name)
        except LOST:
            return ""

    async def _ask_some(self, commands: Sequence[Command[Reply]]) -> list[Reply | Failed]:
        """Ask a node."""
        try:
            replies: list[Any] = await self._in_time(partial(self._ask_again, commands), commands)
        except ERRORS as error:
            return [failed(self._link, error, commands)] * len(commands)
        return [
            await self.ask(command) if isinstance(reply, NoScriptError) else self._settled(command, reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _ask_again(self, commands: Sequence[AnyCommand]) -> list[object]:
        """Ask a node, by another connection if that one is broken."""
        try:
            return await self._ask_node(commands)
        except RedisConnectionError as error:
            if not all(may_repeat(error, command) for command in commands):
                raise
            return await self._ask_node(commands)

    async def _ask_node(self, commands: Sequence[AnyCommand]) -> list[object]:
        """Write all before any is waited for; errors are among the replies."""
        all_words = [words(command, self._until(command)) for command in commands]
        if self._is_cluster:
            pipeline = self.client().pipeline(transaction=False)
            for each in all_words:
                pipeline.execute_command(*each)
            replies: list[object] = await pipeline.execute(raise_on_error=False)
            return replies
        pool = self.client().connection_pool
        connection = await self._borrowed()
        try:
            await connection.send_packed_command(b"".join(map(packed, all_words)))
            return [await _awaited_answer_of(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def ask_replicated(self, commands: Sequence[Command[Reply]]) -> tuple[list[Reply | Failed], int]:
        """Return the replies, and how many replicas of each node at least had it all in half of the time.

        In a thread: to wait for replicas takes one connection from the first command to the last.
        """
        return await asyncio.to_thread(self._in_thread.ask_replicated, commands)

    def _settled(self, command: Command[Reply], reply: Reply | Exception) -> Reply | Failed:
        try:
            if not isinstance(reply, Exception):
                return cast("Reply", checked(command, reply))
        except UnexpectedReplyError as error:
            reply = error
        return instead_of_reply(self._link, reply, command)

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*self._late, return_exceptions=True)
        await asyncio.to_thread(self._in_thread.close)
        if self._client is not None:
            while self._idle:
                await self._client.connection_pool.release(self._idle.pop())
            await self._client.aclose()
            if self._is_cluster:  # which closes nothing where it had lost the way
                await self._client.nodes_manager.aclose("nodes_cache")
                await self._client.nodes_manager.aclose("startup_nodes")
            for each in unclosed(self._link, self._client):
                await each.aclose()
