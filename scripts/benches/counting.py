"""What counting costs: the Worker against a copy of it that counts nothing, in one workerd, in turns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from scripts.benches.load import HOST, Target, loads
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.build import built
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["Turns", "counting_rows"]

_UNCOUNTED = Path(__file__).parent / "workers" / "uncounted.py"
_MOST = 1.02
_WITHOUT = "without counting"
_SCENES: Sequence[tuple[str, str, str, int | None]] = (
    ("memory hit", "", "/hot/0", None),
    ("KV hit without marks", "-bare", "/hot/0", None),
    ("miss", "", "/miss-{}", 0),
)
"""Name, which Worker, path, and how many paths there are below it."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How often each is put under load, before it counts and while it does, and how many at the same time."""

    warm_ups: int
    rounds: int
    at_once: int


def counting_rows(folder: Path, origin: str, fill: Callable[[Workerd], None], turns: Turns) -> list[Row]:
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
        return [row for scene in _SCENES for row in [_compared(workerd, scene, turns)]]


def _compared(workerd: Workerd, scene: tuple[str, str, str, int | None], turns: Turns) -> Row:
    name, suffix, path, paths_below = scene
    used: dict[str, list[float]] = {"counted": [], "uncounted": []}
    targets = {
        # They share a KV: what one has missed, the other would find.
        kind: Target(name, workerd.url(f"{kind}{suffix}"), path.format(kind), workerd.process, paths_below)
        for kind in used
    }
    for target in targets.values():
        # Before there is any load, an isolate has to start.
        httpx.get(target.url, headers={"Host": HOST}, timeout=60, trust_env=False).raise_for_status()
    for turn in range(turns.warm_ups + turns.rounds):
        # Who goes first may find the machine in another state: they take turns in that, too.
        kinds = sorted(targets, reverse=turn % 2 == 1)
        for kind, load in zip(
            kinds, loads([targets[kind] for kind in kinds], 1, at_once=turns.at_once), strict=True
        ):
            if turn >= turns.warm_ups:
                used[kind].append(load.cpu_microseconds)
    return row(
        "counting",
        name,
        "µs/request",
        used["counted"],
        against=_WITHOUT,
        baseline=used["uncounted"],
        aim=AtMost(_MOST),
    )
