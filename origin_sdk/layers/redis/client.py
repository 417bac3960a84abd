"""Carry out commands with redis-py, and say so when Redis can't. Nothing here raises."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, cast

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    ResponseError,
)

from origin_sdk._process.spans import are_wanted
from origin_sdk.layers.redis.commands import AnyCommand, Command, Reply
from origin_sdk.layers.redis.failures import (
    ASK_AGAIN,
    ERRORS,
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
from origin_sdk.layers.redis.ports import Client, ClusterClient, Connection, Pool, Subscription
from origin_sdk.layers.redis.replies import FAILED, Failed
from origin_sdk.layers.redis.reply_shapes import UnexpectedReplyError, checked
from origin_sdk.layers.redis.wire import packed, packed_read, words
from origin_sdk.layers.traces import failing, traced_redis

__all__ = ["RedisClient"]


class _Turns:
    """Limits how many threads ask at a time.

    A crowd must not look like a Redis that is slow. If that is slow, those before end in time.
    """

    def __init__(self, link: Link) -> None:
        self._seconds = link.options.timeout * TURN_TIMEOUTS
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most_at_once(link)):
            self._free.put(None)

    def __enter__(self) -> None:
        try:
            self._free.get(timeout=self._seconds)
        except Empty as error:
            raise CrowdedError("too many threads ask Redis at once") from error

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


def _answer_of(connection: Connection, command: AnyCommand | None = None) -> object:
    """Return the reply, which has to be one to the command, or what is said instead."""
    try:
        reply = connection.read_response()
        return checked(command, reply) if command else reply
    except (ResponseError, UnexpectedReplyError) as error:
        return error


class RedisClient:
    """Asks Redis in the calling thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: Client | None = None
        self._tries = 0
        """How often it was tried to make it."""
        self._idle: list[Connection] = []
        """Connections of the client's pool, kept for reads."""
        self._most_idle = link.options.max_connections // 2
        self._is_cluster = link.options.is_cluster
        self._epoch = link.epoch
        self._turns = _Turns(link)
        self._lock = Lock()

    def client(self) -> Client:
        """Return the client; that of a cluster connects when it is made."""
        if self._client is None:
            with self._lock:  # a client that nobody keeps closes its connections, whoever uses them
                if self._client is None:
                    self._tries += 1
                    self._client = self._link.options.client(self._link.found_primary, self._tries - 1)
        return self._client

    def _cluster(self) -> ClusterClient:
        return cast("ClusterClient", self.client())

    def ask(self, command: Command[Reply]) -> Reply | Failed:
        """Return the reply, or FAILED."""
        if not are_wanted():
            return self._ask(command)
        with traced_redis((command,)) as traced:
            reply = self._ask(command)
            failing(traced, (reply,))
            return reply

    def _ask(self, command: Command[Reply]) -> Reply | Failed:
        link = self._link
        up, shard = link.up, link.layout.shard_of(command)
        if not up[shard]:
            return FAILED
        try:
            with self._turns:
                if not up[shard]:
                    raise AwayError
                if command.script is None and not self._is_cluster:
                    return cast("Reply", checked(command, self._read(packed_read(command))))
                with link.options.bounded():
                    return self.demand(command)
        except ERRORS as error:
            return instead_of_reply(link, error, command)

    def _renew(self) -> None:
        """Let go of connections that are as old as one that broke."""
        self._epoch = self._link.epoch
        pool = self.client().connection_pool
        with suppress(IndexError):  # one by one: others take some at the same time
            while True:
                connection = self._idle.pop()
                connection.disconnect()
                pool.release(connection)

    def _read(self, packed: bytes) -> object:
        """Read as redis-py does, without what its client adds to each command: nearly half of the time."""
        if self._epoch != self._link.epoch:
            self._renew()
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._read_with(self._borrowed(), packed)
        try:
            return self._read_with(connection, packed)
        except RedisConnectionError:
            # Redis closes connections that are long idle. A timeout is another error, and not tried again.
            return self._read_with(self._borrowed(), packed)

    def _borrowed(self) -> Connection:
        """Take a connection of the pool; one that is as old as one that broke connects again."""
        connection = self.client().connection_pool.get_connection()
        if is_older(connection, self._link.epoch):
            connection.disconnect()
        return connection

    def _read_with(self, connection: Connection, packed: bytes) -> object:
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

    def demand(self, command: Command[Reply]) -> Reply:
        """Return the reply, or raise what redis-py raises."""
        try:
            return self._demand_once(command)
        except NoScriptError:
            return self._demand_once(command, is_source=True)
        except RedisConnectionError as error:
            self._link.epoch += 1
            if not may_repeat(error, command):
                raise
            return self._demand_once(command, is_source=command.script is not None)

    def _demand_once(self, command: Command[Reply], *, is_source: bool = False) -> Reply:
        parts = self._words(command, is_source=is_source)
        if self._is_cluster:
            return cast("Reply", checked(command, self.client().execute_command(*parts)))
        connection = self._borrowed()
        try:
            connection.send_packed_command((packed(parts),))
            reply = connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self.client().connection_pool.release(connection)
        return cast("Reply", checked(command, reply))

    def _until(self, command: AnyCommand) -> str:
        return self._link.deadline(self._link.layout.shard_of(command)) if command.expires else ""

    def demand_each(self, commands: Sequence[Command[Reply]]) -> list[Reply | Exception]:
        """Return replies or errors in order; a node that fails fails for its own commands alone.

        Each node has the time of a call: to connect to one that hangs takes all of it.
        """
        replies: list[Any] = [FAILED] * len(commands)
        try:
            with self._link.options.bounded():
                nodes = list(self._pools(commands).values())
        except ERRORS as error:
            return [error] * len(commands)
        for places in nodes:
            try:
                with self._link.options.bounded():
                    some, _ = self._ask_nodes([commands[place] for place in places])
            except ERRORS as error:
                some = [error] * len(places)
            for place, reply in zip(places, some, strict=True):
                replies[place] = reply
        for place, reply in enumerate(replies):
            if isinstance(reply, ASK_AGAIN):
                try:
                    replies[place] = self.demand(commands[place])
                except ERRORS as error:
                    replies[place] = error
        return replies

    def find_nodes(self) -> None:
        """Find out which nodes a cluster has now."""
        if self._is_cluster and self._client is not None:
            with suppress(*ERRORS):
                self._cluster().nodes_manager.initialize()

    def subscription(self, tries: int) -> Subscription:
        """Return a connection for messages; of a cluster, each try by another node."""
        if not self._is_cluster:
            return self.client().pubsub()
        nodes = self._cluster().get_primaries()
        return self._cluster().pubsub(nodes[tries % len(nodes)])

    def find_primary(self) -> None:
        """Find out which server is the primary now, if there are sentinels to ask; the link is told."""
        if self._link.options.is_watched:
            with suppress(*ERRORS):
                self.client().connection_pool.get_master_address()  # type: ignore[attr-defined]  # a pool of sentinels

    def ask_many(self, commands: Sequence[Command[Reply]]) -> list[Reply | Failed]:
        """Return the replies in order, in one round trip to each node."""
        if len(commands) == 1:
            return [self.ask(commands[0])]
        if not are_wanted():
            return self._ask_many(commands)
        with traced_redis(commands) as traced:
            replies = self._ask_many(commands)
            failing(traced, replies)
            return replies

    def _ask_many(self, commands: Sequence[Command[Reply]]) -> list[Reply | Failed]:
        return self._ask_up(commands, ())[0]

    def ask_replicated(self, commands: Sequence[Command[Reply]]) -> tuple[list[Reply | Failed], int]:
        """Return the replies, and how many replicas of each node at least had it all in half of the time."""
        options = self._link.options
        wait = ("WAIT", options.wait_replicas, max(1, round(options.timeout * 500)))
        replies, counts = self._ask_up(commands, wait)
        return replies, min((count if isinstance(count, int) else 0 for count in counts), default=0)

    def _ask_up(
        self, commands: Sequence[Command[Reply]], last: tuple[object, ...]
    ) -> tuple[list[Reply | Failed], list[object]]:
        """Ask of the shards that are up; FAILED stands for the others."""
        link = self._link
        places = [place for place, each in enumerate(commands) if link.up[link.layout.shard_of(each)]]
        settled: list[Reply | Failed] = [FAILED] * len(commands)
        if not places:
            return settled, []
        asked = [commands[place] for place in places]
        with link.options.bounded():
            try:
                with self._turns:
                    replies, ends = self._ask_nodes(asked, last)
            except ERRORS as error:
                failed(link, error, asked)
                return settled, []
            broken = FAILED
            for place, command, reply in zip(places, asked, replies, strict=True):
                if may_repeat(reply, command) and broken is not reply:
                    settled[place] = self.ask(command)
                    broken = reply if settled[place] is FAILED else broken
                else:
                    settled[place] = self._settled(command, reply)
        return settled, ends if len(asked) == len(commands) else []

    def _ask_nodes(
        self, commands: Sequence[AnyCommand], last: tuple[object, ...] = ()
    ) -> tuple[list[Any], list[object]]:
        """Write to all nodes before any is waited for; errors are among the replies.

        ``last`` is asked of each node after its commands; the replies to it are in the second list.
        """
        replies: list[object] = [FAILED] * len(commands)
        ends: list[object] = []
        with ExitStack() as borrowed:
            unread = []
            try:
                for pool, places in self._pools(commands).items():
                    with self._losing(places, replies, ends):
                        connection = pool.get_connection() if self._is_cluster else self._borrowed()
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
                                replies[place] = _answer_of(connection, commands[place])
                        if last:
                            ends.append(_answer_of(connection))
            except BaseException:
                for connection, _ in unread:
                    connection.disconnect()
                raise
        return replies, ends

    def _words(self, command: AnyCommand, *, is_source: bool) -> tuple[object, ...]:
        return words(command, self._until(command), is_source=is_source)

    @staticmethod
    @contextmanager
    def _losing(
        places: Sequence[int], replies: list[object], ends: list[object], connection: Connection | None = None
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

    def _pools(self, commands: Sequence[AnyCommand]) -> dict[Pool, list[int]]:
        """Return where to send the commands: each pool with their places."""
        if not self._is_cluster:
            return {self.client().connection_pool: list(range(len(commands)))}
        client = self._cluster()
        pools: dict[Pool, list[int]] = {}
        for place, command in enumerate(commands):
            node = client.get_node_from_key(command.keys[0])
            pools.setdefault(client.get_redis_connection(node).connection_pool, []).append(place)
        return pools

    def _settled(self, command: Command[Reply], reply: Reply | Exception) -> Reply | Failed:
        if isinstance(reply, ASK_AGAIN):
            return self.ask(command)
        return instead_of_reply(self._link, reply, command) if isinstance(reply, Exception) else reply

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            while self._idle:
                self._client.connection_pool.release(self._idle.pop())
            below = unclosed(self._link, self._client)
            self._client.close()
            for each in below:
                each.close()
