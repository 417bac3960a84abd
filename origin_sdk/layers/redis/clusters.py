"""redis-py's clients of a cluster, which find their way without its first node.

redis-py asks the first of the primaries for all the commands that there are, when a client is made, to know
where their keys stand: while that node hangs no process could begin to use the others. What is asked here
has its first key in one place.
"""

from typing import Any

import redis
import redis.asyncio

__all__ = ["AsyncCluster", "Cluster"]


def _keys_of(words: tuple[Any, ...]) -> list[Any]:
    """Return the keys of GET and MGET; where those of EVAL are redis-py knows by itself."""
    return list(words[1:])


class _KnownKeys:
    def get_keys(self, _client: object, *words: Any) -> list[Any]:
        return _keys_of(words)


class _AsyncKnownKeys:
    async def initialize(self, _node: object = None) -> None:
        """Ask nobody."""

    async def get_keys(self, *words: Any) -> list[Any]:
        return _keys_of(words)


class Cluster(redis.RedisCluster):
    """For threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_parser = _KnownKeys()  # type: ignore[assignment]  # as much of it as is asked

    def command(self) -> dict[str, Any]:  # type: ignore[override]  # it has no use for arguments
        """Ask no node for its commands, as the client that is made would."""
        return {}


class AsyncCluster(redis.asyncio.RedisCluster):
    """For an event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_parser = _AsyncKnownKeys()  # type: ignore[assignment]  # as much of it as is asked
