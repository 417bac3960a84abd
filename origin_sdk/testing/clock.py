"""A clock that moves only when told to, or when someone waits."""

__all__ = ["ManualClock"]

_START = 1_795_000_000.0


class ManualClock:
    """Implements :class:`origin_sdk._process.clock.Clock`.

    Waiting moves it and takes no time; ``slept`` lists the waits.
    """

    def __init__(self, now: float = _START) -> None:
        self._now = now
        self._monotonic = 0.0
        self._tokens = 0
        self.slept: list[float] = []

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += seconds
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Change the time of day alone, as someone who corrects a clock does."""
        self._now -= seconds

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Move on by ``seconds``, at once."""
        self.slept.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Move on by ``seconds``, at once."""
        self.sleep(seconds)

    def fraction(self) -> float:
        """Return no jitter."""
        return 0.0

    def token(self) -> str:
        """Return 0000000001, 0000000002 and so on."""
        self._tokens += 1
        return f"{self._tokens:010}"
