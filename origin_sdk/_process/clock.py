"""Time and chance, by which the SDK decides; what only measures itself, as a command does, reads its own."""

import asyncio
import random
import secrets
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the SDK asks of time and chance; a test gives its own."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment, never set back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, for the synchronous driver."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Wait, for the asynchronous driver."""
        ...

    def fraction(self) -> float:
        """Return a random number from 0 up to 1."""
        ...

    def token(self) -> str:
        """Return ten random characters that nobody can guess."""
        ...


class SystemClock:
    """The machine's own."""

    monotonic = staticmethod(time.monotonic)
    """Return seconds since some moment, never set back. Each hit of a cache asks: no call lies between."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Let other tasks run."""
        await asyncio.sleep(seconds)

    def fraction(self) -> float:
        """Return a random number from 0 up to 1."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing

    def token(self) -> str:
        """Return ten random characters."""
        return secrets.token_hex(5)
