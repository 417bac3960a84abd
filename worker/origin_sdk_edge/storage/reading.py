"""A read of KV that is under way, for which others wait in place of reading the same."""

from origin_sdk_edge.ports import Signal, Timing

__all__ = ["Reading"]


class Reading:
    """One that began at ``began_ms``: it is lost, together with its request, once that is long ago."""

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self._ended: Signal | None = None

    async def wait(self, timing: Timing, seconds: float) -> None:
        """Wait until it has ended."""
        if self._ended is None:
            self._ended = timing.signal()
        await self._ended.wait(seconds)

    def end(self) -> None:
        """Let all that wait go on."""
        if self._ended:
            self._ended.set()
