"""What hooks cost: the Worker with one hook each against the Worker without, in one workerd, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from scripts.benches.load import HOST, Load, Target
from scripts.benches.rows import Row, row
from scripts.runtime.build import build
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["hook_rows"]

_NONE = "no hook"
_AFTER = "after_origin"
_PLAIN: Mapping[str, str] = {
    _NONE: "",
    "before_lookup": "def before_lookup(request): return request.with_field('x-a', 'b')",
    "before_send": "def before_send(request, response): return response.with_field('x-a', 'b')",
    _AFTER: "def after_origin(request, response): return response.with_field('x-a', 'b')",
}
_HOOKS: Mapping[str, str] = {
    **_PLAIN,
    **{f"async {name}": f"async {code}" for name, code in _PLAIN.items() if code},
    f"{_AFTER}, body shown": _PLAIN[_AFTER].replace("'b'", "str(len(response.body))"),
}
_HIT, _MISS = "memory hit", "miss"


def hook_rows(folder: Path, origin: str, fill: Callable[[Workerd], None], rounds: int) -> list[Row]:
    """Measure CPU time with each hook against without; ``fill`` puts the stored responses into KV."""
    workers = [Worker("javascript", Path(__file__).parent / "workers", main="kv.js")]
    for number, (name, code) in enumerate(_HOOKS.items()):
        own = folder / f"hooks-{number}"
        own.mkdir()
        (own / "hooks.py").write_text(code, encoding="utf-8")
        variables: dict[str, Json] = {"ORIGIN": origin}
        if "shown" in name:
            variables["RULES"] = [{"path": "/**", "hook_response_bytes": "64KiB"}]
        tree = build(folder / f"hooked-{number}", own)
        workers.append(Worker(f"hooked-{number}", tree, variables=variables))
    with Workerd(folder / "hooks", workers) as workerd:
        fill(workerd)
        return [*_compared(workerd, _HIT, rounds), *_compared(workerd, _MISS, rounds)]


def _compared(workerd: Workerd, what: str, rounds: int) -> list[Row]:
    is_hit = what == _HIT
    targets = {
        # They share a KV: what one has missed, the other would find.
        name: Target(
            name,
            workerd.url(f"hooked-{number}"),
            "/hot/0" if is_hit else f"/miss-{number}",
            workerd.process,
            None if is_hit else 0,
        )
        for number, name in enumerate(_HOOKS)
        if (_AFTER in name) != is_hit or name == _NONE
    }
    loads: dict[str, list[float]] = {name: [] for name in targets}
    for target in targets.values():
        # Before there is any load, an isolate has to start.
        httpx.get(target.url, headers={"Host": HOST}, timeout=60, trust_env=False).raise_for_status()
    for turn in range(1 + rounds):
        for name in sorted(targets, reverse=turn % 2 == 1):
            load = Load.on(targets[name], 1)
            if turn:
                loads[name].append(load.cpu_microseconds)
    return [
        row(f"hooks: {what}", name, "µs/request", own, against=_NONE, baseline=loads[_NONE])
        for name, own in loads.items()
        if name != _NONE
    ]
