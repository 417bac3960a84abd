"""Background refreshes of this isolate: a bound for all, half of it for one rule, and turns for the rest."""

from collections import OrderedDict
from dataclasses import dataclass

from origin_sdk_edge.ports import Signal, Timing

__all__ = ["Refreshes"]

_LONGEST_MS = 60_000
"""A refresh that hasn't ended after so long was lost together with its request."""
_LONGEST_WAIT_SECONDS = 10.0
"""The runtime ends what goes on after a response, waiting included, after some 30 s."""
_MAX_WAITING = 256


@dataclass(slots=True, eq=False)
class _Turn:
    rule: int
    called: Signal
    is_called: bool = False


class Refreshes:
    """Who may refresh now. ``most`` at once, 0 for any number; those who come later wait, first come first.

    A key waits once, however many readers it has, so that a hot URL keeps no other from its turn.
    """

    def __init__(self, timing: Timing, most: int) -> None:
        self._timing = timing
        self._most = most
        self._most_of_rule = max(1, most // 2)
        self._running: dict[str, tuple[int, int]] = {}
        self._waiting: OrderedDict[str, _Turn] = OrderedDict()

    def knows(self, key: str) -> bool:
        """Whether a refresh of ``key`` waits for its turn."""
        return key in self._waiting

    def begin(self, key: str, rule: int) -> bool:
        """Take a place if there is one, to be given back with :meth:`end`."""
        self._forget_lost()
        if not self._has_place(rule):
            return False
        self._running[key] = rule, self._timing.now_ms()
        return True

    def is_full(self) -> bool:
        """Whether so many wait that one more wouldn't have its turn in time."""
        return len(self._waiting) >= _MAX_WAITING

    async def turn(self, key: str, rule: int) -> bool:
        """Wait for a place, and take it. Return whether there was one in time."""
        turn = self._waiting[key] = _Turn(rule, self._timing.signal())
        await turn.called.wait(_LONGEST_WAIT_SECONDS)
        if not turn.is_called and self._waiting.get(key) is turn:
            del self._waiting[key]
        return turn.is_called

    def end(self, key: str) -> None:
        """Give a place back, to the first of those who wait that may have it."""
        self._running.pop(key, None)
        for waiting, turn in list(self._waiting.items()):
            if self._has_place(turn.rule):
                del self._waiting[waiting]
                self._running[waiting] = turn.rule, self._timing.now_ms()
                turn.is_called = True
                turn.called.set()

    def _has_place(self, rule: int) -> bool:
        if not self._most:
            return True
        of_rule = sum(running == rule for running, _ in self._running.values())
        return len(self._running) < self._most and of_rule < self._most_of_rule

    def _forget_lost(self) -> None:
        oldest_ms = self._timing.now_ms() - _LONGEST_MS
        for key in [key for key, (_, began_ms) in self._running.items() if began_ms < oldest_ms]:
            self.end(key)
