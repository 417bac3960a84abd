"""What the clocks of Redis's shards show, as far as this process knows."""

from origin_sdk._process.clock import Clock

__all__ = ["ShardClocks"]


class ShardClocks:
    """How far each shard's clock is from this machine's monotonic one, by what it said last."""

    def __init__(self, clock: Clock, shards: int) -> None:
        self._clock = clock
        self._offsets: list[float | None] = [None] * shards
        """In seconds."""

    def now(self, shard: int) -> float:
        """Return the time of a shard's clock in microseconds; until it is known, this machine's time."""
        offset = self._offsets[shard]
        return self._clock.now() * 1e6 if offset is None else (self._clock.monotonic() + offset) * 1e6

    def learn(self, shard: int, moment: float, asked_at: float | None = None) -> None:
        """Take a moment for what the clock showed when it was asked, or shows just now."""
        self._offsets[shard] = moment / 1e6 - (self._clock.monotonic() if asked_at is None else asked_at)

    def deadline(self, shard: int, seconds: float) -> str:
        """Return the moment at which a caller that asks now gives up; 0 where the time isn't known."""
        if self._offsets[shard] is None:
            return "0"
        return f"{self.now(shard) + seconds * 1e6:.0f}"
