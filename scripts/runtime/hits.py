"""`scripts/soak --hits N`: so many hits, half of them out of KV, and what an isolate holds after them.

Before anything is counted a tenth goes by: tables and memory are full by then.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from scripts.benches.load import HOST, Load, Target
from scripts.runtime.inspection import INSPECTED, INSPECTOR, V8_FLAGS, Holdings, held_bytes, inspected_source
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker

__all__ = ["Kept", "hits"]

_ORIGIN = Path(__file__).parents[1] / "benches" / "workers"
_SECONDS = 5
"""Of a run of wrk."""
_WARM_SHARE = 0.1
_FEW_OBJECTS = 60
_WASM_SLACK_MIB = 8
_MIB = 1 << 20
_MEMORY_BYTES = {"memory": 8 * _MIB, "KV": 0}


@dataclass(frozen=True, slots=True)
class Kept:
    """What an isolate held when it was warm and after ``hits`` more."""

    tier: str
    hits: int
    warm: Holdings
    end: Holdings
    end_bytes: int

    @property
    def left(self) -> int:
        """How many objects of requests there are more than before."""
        return self.end.count_left_by_requests(self.warm)

    @property
    def is_flat(self) -> bool:
        """Whether nothing was left behind."""
        more_bytes = self.end.wasm_bytes - self.warm.wasm_bytes
        return self.left <= _FEW_OBJECTS and more_bytes <= _WASM_SLACK_MIB * _MIB

    def __str__(self) -> str:
        return (
            f"{self.tier:<7} {self.hits:>9,} hits; objects {self.warm.objects:,} then {self.end.objects:,}, "
            f"of requests {self.left:+}; wasm {self.warm.wasm_bytes / _MIB:.0f} then "
            f"{self.end.wasm_bytes / _MIB:.0f} MiB, with JavaScript and buffers {self.end_bytes / _MIB:.0f}; "
            f"{'flat' if self.is_flat else 'GREW'}"
        )


def hits(count: int, *, show: bool = False) -> list[Kept]:
    """Make ``count`` hits, half of each kind, and return what was kept. It needs wrk."""
    with tempfile.TemporaryDirectory() as name, _edge(Path(name)) as edge:
        return [_kept(edge, tier, count // 2, show=show) for tier in _MEMORY_BYTES]


@contextmanager
def _edge(folder: Path) -> Iterator[Workerd]:
    with ExitStack() as stack:
        origin = Worker("origin", _ORIGIN, main="origin.js")
        behind = stack.enter_context(Workerd(folder / "origin", [origin]))
        source, url = inspected_source(folder), behind.url("origin")
        workers = [
            Worker(tier, source, main=INSPECTED, variables={"ORIGIN": url, "MEMORY_BYTES": size})
            for tier, size in _MEMORY_BYTES.items()
        ]
        yield stack.enter_context(Workerd(folder / "edge", workers, arguments=INSPECTOR, v8_flags=V8_FLAGS))


def _kept(edge: Workerd, tier: str, count: int, *, show: bool) -> Kept:
    url = edge.url(tier)
    target = Target(tier, url, "/p/0", edge.process)
    for _ in range(3):
        httpx.get(target.url, headers={"Host": HOST}, timeout=60, trust_env=False).raise_for_status()
    warm_hits = _make(target, int(count * _WARM_SHARE), show=show)
    warm = Holdings.of(url)
    made = _make(target, count - warm_hits, show=show)
    shown = httpx.get(target.url, headers={"Host": HOST}, timeout=60, trust_env=False).headers["cache-status"]
    if "; hit;" not in shown:
        raise RuntimeError(f"{tier}: what was to be a hit came with {shown!r}")
    return Kept(tier, made, warm, Holdings.of(url), held_bytes(edge, tier))


def _make(target: Target, count: int, *, show: bool) -> int:
    made = 0
    while made < count:
        made += round(Load.on(target, _SECONDS).requests_per_second * _SECONDS)
        if show:
            print(f"\r{target.name:<7} {made:>9,} of {count:,} hits ", end="", file=sys.stderr)
    return made
