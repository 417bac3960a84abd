"""From a run that broke a promise to the fewest faults, and the shortest run, that still break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from scripts.runtime.chaos_report import Report, told
from scripts.runtime.chaos_stores import FIRST_SECONDS, Fault

__all__ = ["Trial", "shrunk"]

_TRIES = 2
"""So often a run may pass by chance before its faults count as harmless."""
_GAP_SECONDS = 4.0
_AFTER_SECONDS = 6.0
"""How long to run on after the read that was wrong."""


class Trial(Protocol):
    """A run that can be repeated."""

    @property
    def store(self) -> str:
        """Which form of Redis."""
        ...

    @property
    def seconds(self) -> float:
        """How long it takes."""
        ...

    @property
    def seed(self) -> int:
        """What the processes' chance begins with."""
        ...

    def run(self, faults: Sequence[Fault], say: Callable[[str], None]) -> Report:
        """Run, and return what was seen."""
        ...

    def lasting(self, seconds: float) -> Self:
        """Return the same for another time."""
        ...


@dataclass
class _Least:
    """The least so far that breaks a promise."""

    trial: Trial
    faults: Sequence[Fault]
    report: Report
    say: Callable[[str], None]

    def cut(self) -> None:
        """Leave out what came after the first read that was wrong."""
        first = min(violation["at"] for violation in self.report.violations) - self.report.began
        self.faults = [fault for fault in self.faults if fault.at < first]
        self.trial = self.trial.lasting(min(self.trial.seconds, first + _AFTER_SECONDS))

    def breaks(self, faults: Sequence[Fault]) -> bool:
        """Run with these faults instead; if that breaks a promise, too, it is the least."""
        for _ in range(_TRIES):
            self.say(f"again with {len(faults)} of {len(self.faults)} faults in {self.trial.seconds:.0f} s")
            report = self.trial.run(faults, lambda _: None)
            if report.violations:
                self.faults, self.report = faults, report
                self.cut()
                return True
        return False

    def leave_out(self) -> None:
        """Leave out halves of the faults, then quarters, down to single ones, for as long as that fails."""
        size = max(1, len(self.faults) // 2)
        while self.faults:
            faults = self.faults
            parts = range(0, len(faults), size)
            if any(self.breaks([*faults[:start], *faults[start + size :]]) for start in parts):
                size = max(1, min(size, len(self.faults) // 2))
            elif size == 1:
                return
            else:
                size //= 2

    def draw_together(self) -> None:
        """Let the faults come soon after each other."""
        at = [FIRST_SECONDS + place * _GAP_SECONDS for place in range(len(self.faults))]
        if self.faults and at[-1] < self.faults[-1].at:
            self.breaks([replace(fault, at=new) for fault, new in zip(self.faults, at, strict=True)])


def shrunk(
    trial: Trial, faults: Sequence[Fault], report: Report, say: Callable[[str], None]
) -> Iterator[str]:
    """Run again with fewer faults, and closer together; yield lines that tell of the least that fails."""
    least = _Least(trial, faults, report, say)
    least.cut()
    least.leave_out()
    least.draw_together()
    replay = "".join(f" {fault.at:.1f}:{fault.name}:{fault.number}" for fault in least.faults)
    yield f"the least that breaks it has {len(least.faults)} of {len(faults)} faults:"
    yield (
        f"  scripts/chaos --store {trial.store} --seed {trial.seed} --seconds {least.trial.seconds:.0f} "
        f"--replay{replay}"
    )
    yield from told(trial.store, least.report)
