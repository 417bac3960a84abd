"""redis-py's connections and pools, as far as they are used here: its own annotations promise less."""

from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["AsyncConnection", "Client", "ClusterClient", "Connection", "Pool", "Subscription"]


class Connection(Protocol):
    """A connection for threads."""

    def send_packed_command(self, command: tuple[bytes, ...]) -> object:
        """Write."""
        ...

    def read_response(self) -> object:
        """Read a reply, or raise what Redis or the socket has to say."""
        ...

    def disconnect(self) -> object:
        """Close the socket; the next command opens it again."""
        ...


class Pool(Protocol):
    """A pool of them."""

    def get_connection(self) -> Connection:
        """Take one out."""
        ...

    def release(self, connection: Connection) -> object:
        """Put it back."""
        ...

    def disconnect(self, *, inuse_connections: bool = True) -> object:
        """Close those that lie idle, or all."""
        ...

    def close(self) -> object:
        """Close all."""
        ...


class Subscription(Protocol):
    """A connection that messages come by."""

    def subscribe(self, *channels: str) -> object:
        """Ask for messages of channels."""
        ...

    def get_message(self, *, timeout: float) -> Mapping[str, object] | None:
        """Return the next message, or None if none comes in time."""
        ...

    def ping(self) -> object:
        """Ask for a sign of life."""
        ...

    def close(self) -> object:
        """Let go of the connection."""
        ...


class AsyncConnection(Protocol):
    """A connection for one event loop."""

    async def send_packed_command(self, command: bytes) -> object:
        """Write."""
        ...

    async def read_response(self) -> object:
        """Read a reply, or raise what Redis or the socket has to say."""
        ...

    async def disconnect(self, *, nowait: bool = False) -> object:
        """Close the socket; the next command opens it again."""
        ...


class Client(Protocol):
    """A client of redis-py, for threads."""

    @property
    def connection_pool(self) -> Pool:
        """Where its connections are; that of a cluster has one for each node."""
        ...

    def execute_command(self, *words: object) -> object:
        """Ask, and return the reply."""
        ...

    def pubsub(self) -> Subscription:
        """Return a connection for messages."""
        ...

    def close(self) -> object:
        """Close the connections."""
        ...


class _Nodes(Protocol):
    def initialize(self) -> object:
        """Find out which nodes there are."""
        ...


class ClusterClient(Client, Protocol):
    """A client of a cluster, for threads."""

    @property
    def nodes_manager(self) -> _Nodes:
        """What knows its nodes."""
        ...

    def get_primaries(self) -> Sequence[object]:
        """Return the nodes that keys lie at."""
        ...

    def pubsub(self, node: object = None) -> Subscription:
        """Return a connection for messages, which any node passes on."""
        ...

    def get_node_from_key(self, key: str) -> object:
        """Return the node that a key lies at."""
        ...

    def get_redis_connection(self, node: object) -> Client:
        """Return a node's client."""
        ...
