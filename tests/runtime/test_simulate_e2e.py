"""A log of traffic that went through the real Worker, replayed, gives the Worker's hit ratio."""

from __future__ import annotations

import json
import random  # noqa: TID251 - one seed, the same traffic in each run
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path

import pytest

from origin_sdk.simulation.accesslog import AccessLog
from origin_sdk.simulation.replay import Replay
from origin_sdk.simulation.what_if import NOW, varied
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import HOST, QUIET, detail, get, is_hit, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

_REQUESTS = 1000
_URLS = 150
_RULES: list[Json] = [
    {"name": "brief", "path": "/brief/**", "default_lifetime": "1s"},
    {"name": "search", "path": "/search/**", "query_drop": ["utm_*"], "default_lifetime": "1m"},
    {"name": "bypassed", "path": "/bypassed/**", "bypass": True},
]
_FIELDS = {
    "brief": (),
    "search": (),
    "bypassed": (("Cache-Control", "max-age=60"),),
    "listed": (("Cache-Control", "max-age=2, stale-while-revalidate=30"), ("Surrogate-Key", "listed")),
    "secret": (("Cache-Control", "no-store"),),
    "tagged": (("Cache-Control", "max-age=1, stale-if-error=0"), ("ETag", '"1"')),
    "gone": (("Cache-Control", "max-age=60"),),
}


def _answer(request: Request) -> Reply:
    kind = request.path.split("/")[1]
    if request.method == "POST":
        return reply(204)
    if kind == "tagged" and request.value("If-None-Match") == '"1"':
        return reply(304, [("ETag", '"1"'), *_FIELDS[kind][:1]])
    return reply(404 if kind == "gone" else 200, _FIELDS[kind], b"x" * 200)


@pytest.mark.timeout(120)
def test_a_replay_gives_the_hit_ratio_of_the_worker(origin: ScriptedOrigin, tmp_path: Path) -> None:
    origin.otherwise(_answer)
    chance = random.Random(11)  # noqa: S311 - no secret
    weights = list(accumulate(1 / (rank + 1) for rank in range(_URLS)))
    kinds = list(_FIELDS)
    log, seen = tmp_path / "access.json", Counter[str]()
    with (
        running(tmp_path / "worker", origin, {"edge": {"RULES": _RULES}}) as workerd,
        log.open("w") as lines,
    ):
        url = workerd.url("edge")
        for _ in range(_REQUESTS):
            number = chance.choices(range(_URLS), cum_weights=weights)[0]
            kind = kinds[number % len(kinds)]
            path = f"/{kind}/{number}"
            if kind == "search":
                path += f"?q={number % 3}&utm_source={chance.randrange(1000)}"
            method = "POST" if kind == "listed" and chance.random() < 0.05 else "GET"
            began = time.time()  # noqa: TID251 - lines of a log are dated
            response = get(url, path, method=method)
            seen["hit" if is_hit(response) else "miss"] += 1
            seen[f"{kind} {detail(response)}"] += 1
            lines.write(json.dumps(_line(began, method, path, response.status, kind)) + "\n")
    replay = Replay(AccessLog(str(log)), varied({**QUIET, "RULES": _RULES}, ()))
    replay.run()
    edge = replay.edges[NOW]
    simulated = edge.ledger.overall
    assert simulated.requests == _REQUESTS
    assert simulated.hit_ratio == pytest.approx(seen["hit"] / _REQUESTS, abs=0.01), (
        seen,
        simulated.by_reason,
    )
    assert simulated.origin_requests == pytest.approx(len(origin.requests()), abs=_REQUESTS * 0.015)


def _line(began: float, method: str, path: str, status: int, kind: str) -> dict[str, object]:
    return {
        "ts": began,
        "method": method,
        "url": f"http://{HOST}{path}",
        "status": status,
        "size": 200,
        "duration_ms": 5,
        "resp_headers": {} if method == "POST" else dict(_FIELDS[kind]),
    }
