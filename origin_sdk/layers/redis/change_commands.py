"""The commands that change what a shard holds, or tell it what is invalid."""

from collections.abc import Iterator

from origin_sdk.layers.process.moments import PARTS
from origin_sdk.layers.redis.commands import ChangeReply, Command, Layout
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.scripts import DROP, INVALIDATE, PUT, REPEAT

__all__ = ["ChangeCommands"]

_NAMES_AT_ONCE = 500
"""This many take Redis about a millisecond."""
_WRITES_SECONDS = 3600.0
"""How long Redis remembers that a key was written: the result of a load that takes longer isn't stored."""
_LATEST = 9e18
"""Later than any moment."""


class ChangeCommands:
    """Of one process, the ``sender``: others hear of each change, and from whom."""

    def __init__(self, layout: Layout, horizon: float, sender: str) -> None:
        self.sender = sender
        self._layout = layout
        self._horizon = horizon

    def invalidation(self, shard: int, names: tuple[str, ...]) -> Command[list[bytes]]:
        """Return the command that invalidates names in a shard."""
        keys = self._layout.keys(shard, "mgfh", "")
        return Command(INVALIDATE, keys, (*self.head(shard), *names))

    def head(self, shard: int, *, parts: bool = False) -> tuple[object, ...]:
        """Return how the arguments of scripts that tell others begin; of writes to ``parts`` less is kept."""
        horizon = min(self._horizon, _WRITES_SECONDS) if parts else self._horizon
        return (round(horizon * 1e6), self._layout.changes, self.sender, shard)

    def change(
        self,
        script: Script,
        name: str,
        record: bytes | None,
        seconds: float,
        *more: object,
        birth: float = 0.0,
    ) -> Command[ChangeReply]:
        """Return the command that changes one key: PUT, or one of those like it."""
        shard = self._layout.shard(name)
        horizon = round(min(self._horizon, _WRITES_SECONDS) * 1e6)
        head = (record or b"", max(1, round(seconds * 1000)), horizon, self._layout.changes, self.sender)
        keys = self._layout.keys(shard, "emtgfh", name)
        # A deletion that comes late does no harm.
        expires = script is not PUT or record is not None
        arguments = (*head, shard, name, f"{birth:.0f}", *more)
        return Command(script, keys, arguments if expires else (*arguments, "0"), expires=expires)

    def drop(self, shard: int) -> Command[bytes]:
        """Return the command that makes all of a shard invalid."""
        return Command(
            DROP, self._layout.keys(shard, "mtgfh", ""), (self._layout.changes, self.sender, shard)
        )

    def repetitions(self, shard: int, names: dict[str, float]) -> Iterator[Command[int]]:
        """Yield what tells a shard again of what it has lost, names with the moments that they had."""
        pairs, keys = list(names.items()), self._layout.keys(shard, "mtgfh", "")
        for start in range(0, len(pairs), _NAMES_AT_ONCE):
            some = pairs[start : start + _NAMES_AT_ONCE]
            # Of parts that were written Redis may have lost one and have another: the whole is invalid.
            told = ((name.removesuffix(PARTS), _LATEST if name.endswith(PARTS) else at) for name, at in some)
            flat = (each for name, moment in told for each in (name, f"{moment:.0f}"))
            yield Command(REPEAT, keys, (*self.head(shard), *flat))
