"""What Redis is asked, and the keys that it touches.

All keys of a shard carry the same hash tag, so that in a cluster they lie in one slot: see the table in
:mod:`origin_sdk.layers.redis.scripts`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from origin_sdk.layers.redis.lua import Script

__all__ = ["Command", "Layout"]


Reply = TypeVar("Reply")
_Reply_co = TypeVar("_Reply_co", covariant=True)
ChangeReply: TypeAlias = list[bytes]
"""What PUT and those like it reply: their moment, and what each of them says after that."""


@dataclass(slots=True)
class Command(Generic[_Reply_co]):
    """Something to ask Redis, whose reply is of a type: a script, or a command of its own if there is none.

    If it ``expires``, the last argument is added when it is sent: the moment at which its caller gives up.
    """

    script: Script | None
    keys: tuple[str, ...]
    arguments: tuple[object, ...] = ()
    expires: bool = False


AnyCommand: TypeAlias = Command[Any]
"""A command, whatever its reply is."""


class Layout:
    """Where a cache's keys lie. ``shards`` is 1 but in a cluster."""

    def __init__(self, prefix: str, shards: int) -> None:
        self.shards = shards
        self.changes = f"{prefix}:changes"
        self.loads = f"{prefix}:loads"
        self._tags = [f"{{{prefix}:{number}}}" for number in range(shards)]
        self._shards = {tag: number for number, tag in enumerate(self._tags)}
        self.entry_prefixes = [f"{tag}e:" for tag in self._tags]
        self.generations = [f"{tag}g" for tag in self._tags]

    def shard(self, name: str) -> int:
        """Return the shard of a key; every process computes the same."""
        if self.shards == 1:
            return 0
        return int.from_bytes(hashlib.blake2s(name.encode(), digest_size=4).digest(), "big") % self.shards

    def shard_of(self, command: "AnyCommand") -> int:
        """Return the shard that a command goes to."""
        if self.shards == 1:
            return 0
        key = command.keys[0]
        return self._shards[key[: key.index("}") + 1]]

    def waits(self, token: str) -> str:
        """Return the key that tells whom a load waits for."""
        return self.key(self.shard(token), "w:", token)

    def key(self, shard: int, kind: str, name: str = "") -> str:
        """Return a key of Redis."""
        return f"{self._tags[shard]}{kind}{name}"

    def keys(self, shard: int, kinds: str, name: str = "") -> tuple[str, ...]:
        """Return the keys of several kinds, each a letter."""
        return tuple(
            self.key(shard, f"{kind}:", name) if kind in "elcs" else self.key(shard, kind) for kind in kinds
        )
