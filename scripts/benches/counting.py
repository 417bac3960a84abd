"""What counting costs: the Worker against a copy of it that counts nothing, in one workerd, in turns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from scripts.benches.load import HOST, Load, Target
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.build import built
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["counting_rows"]

_UNCOUNTED = Path(__file__).parent / "workers" / "uncounted.py"
_MOST = 1.02
_WITHOUT = "without counting"
_SCENES: Sequence[tuple[str, str, str, int | None]] = (
    ("memory hit", "", "/hot/0", None),
    ("KV hit without marks", "-bare", "/hot/0", None),
    ("miss", "", "/miss-{}", 0),
)
"""Name, which Worker, path, and how many paths there are below it."""


def counting_rows(folder: Path, origin: str, fill: Callable[[Workerd], None], rounds: int) -> list[Row]:
    """Measure CPU time with counting against without; ``fill`` puts the stored responses into KV."""
    source = folder / "uncounted"
    shutil.copytree(built(), source)
    shutil.copy(_UNCOUNTED, source / "origin_sdk_edge" / "counters.py")
    variables: dict[str, Json] = {"ORIGIN": origin}
    bare: dict[str, Json] = {**variables, "MEMORY_BYTES": 0}
    workers = [
        Worker("counted", variables=variables),
        Worker("counted-bare", variables=bare),
        Worker("uncounted", source, variables=variables),
        Worker("uncounted-bare", source, variables=bare),
        Worker("javascript", _UNCOUNTED.parent, main="kv.js"),
    ]
    with Workerd(folder / "counting", workers) as workerd:
        fill(workerd)
        return [row for scene in _SCENES for row in [_compared(folder, workerd, scene, rounds)]]


def _compared(folder: Path, workerd: Workerd, scene: tuple[str, str, str, int | None], rounds: int) -> Row:
    name, suffix, path, paths_below = scene
    loads: dict[str, list[float]] = {"counted": [], "uncounted": []}
    targets = {
        # They share a KV: what one has missed, the other would find.
        kind: Target(name, workerd.url(f"{kind}{suffix}"), path.format(kind), workerd.process, paths_below)
        for kind in loads
    }
    for target in targets.values():
        # Before there is any load, an isolate has to start.
        httpx.get(target.url, headers={"Host": HOST}, timeout=60, trust_env=False).raise_for_status()
    for turn in range(1 + rounds):
        # Who goes first may find the machine in another state: they take turns in that, too.
        for kind in sorted(targets, reverse=turn % 2 == 1):
            load = Load.on(targets[kind], 1, folder)
            if turn:
                loads[kind].append(load.cpu_microseconds)
    return row(
        "counting",
        name,
        "µs/request",
        loads["counted"],
        against=_WITHOUT,
        baseline=loads["uncounted"],
        aim=AtMost(_MOST),
    )
