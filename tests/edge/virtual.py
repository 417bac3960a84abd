"""Time that passes only while everybody waits: minutes of several isolates in an instant, always the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.edge.fakes import START_MS

__all__ = ["VirtualTiming", "run"]

_Result = TypeVar("_Result")


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that the loop would have waited has passed."""

    passed_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is to come")
        self.passed_seconds += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Selector) -> None:
        self._passing = selector
        super().__init__(selector)

    def time(self) -> float:
        return self._passing.passed_seconds


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run ``main`` in a loop of its own, in virtual time."""
    with asyncio.Runner(loop_factory=lambda: _Loop(_Selector())) as runner:
        return runner.run(main)


@dataclass
class VirtualSignal:
    """An event to wait for."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, timeout_seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.event.wait()
        except TimeoutError:
            return False

    def set(self) -> None:
        self.event.set()


@dataclass
class VirtualTiming:
    """The clock of one isolate, which may be wrong by ``skew_ms``."""

    skew_ms: int = 0

    def now_ms(self) -> int:
        return START_MS + round(asyncio.get_running_loop().time() * 1000) + self.skew_ms

    def signal(self) -> VirtualSignal:
        return VirtualSignal()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def together(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        return await asyncio.gather(*work)
