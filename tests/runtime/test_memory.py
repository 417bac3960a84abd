"""What an isolate holds: nothing of a request that is over, and no more than its budget of the rest."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from scripts.runtime import paths
from scripts.runtime.inspection import INSPECTED, INSPECTOR, V8_FLAGS, Holdings, held_bytes, inspected_source
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from tests.runtime.crowd import Asked, crowd
from tests.runtime.edge import QUIET, eventually
from tests.runtime.kv import BreakableKV
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Pause, Reply, Reset, chunked, head, reply

CACHED = [("Cache-Control", "max-age=60")]
STALE = [("Cache-Control", "max-age=0, stale-while-revalidate=60, stale-if-error=60")]
_REQUESTS = 40
_FEW = 8
"""What first use of something leaves behind, once."""
_PATIENCE_SECONDS = 15.0
_MIB = 2**20
_BUDGET_BYTES = 8 * _MIB
_numbers = count(1)

Requests = Callable[[], list[Asked]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inspected_source(tmp_path_factory.mktemp("inspected"))


@pytest.fixture(scope="module")
def edge(
    source: Path,
    running_origin: ScriptedOrigin,
    running_kv: BreakableKV,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Workerd]:
    quick: dict[str, Json] = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "KV_TIMEOUT": "3s",
        "ORIGIN_TIMEOUT": "500ms",
        "COLLAPSE_TIMEOUT": "400ms",
        "SOFT_TIMEOUT": "300ms",
        "REFRESH_THROTTLE": 0,
    }
    workers = [
        Worker(
            name,
            source,
            main=INSPECTED,
            variables={**quick, "MEMORY_BYTES": size},
            stores={"CACHE": StandIn(running_kv.address)},
        )
        for name, size in {"edge": _BUDGET_BYTES, "without-memory": 0}.items()
    ]
    folder = tmp_path_factory.mktemp("memory")
    with Workerd(folder, workers, arguments=INSPECTOR, v8_flags=V8_FLAGS) as workerd:
        yield workerd


def _one_path() -> list[Asked]:
    return [Asked("/one")] * _REQUESTS


def _new_paths() -> list[Asked]:
    return [Asked(f"/new-{next(_numbers)}") for _ in range(_REQUESTS)]


def _few_new_paths() -> list[Asked]:
    return _new_paths()[:12]


def _leaving() -> list[Asked]:
    return [Asked(f"/new-{next(_numbers)}", leaves_after=0.1) for _ in range(_REQUESTS)]


def _crowd() -> list[Asked]:
    return [Asked(f"/new-{next(_numbers)}")] * _REQUESTS


def _posts() -> list[Asked]:
    return [Asked(f"/new-{next(_numbers)}", method="POST") for _ in range(_REQUESTS)]


_WHOLE = reply(200, CACHED, b"whole")
_SLOW_FIELDS = reply(200, CACHED, b"late").after(Pause(0.8))
_SLOW_BODY = Reply((head(200, [*CACHED, ("Content-Length", "8")]), b"half", Pause(0.8), b"rest"))
_SLOW_CHUNKS = chunked(200, CACHED, [b"half", Pause(0.8), b"rest"])


@pytest.mark.parametrize(
    ("worker", "requests", "answer"),
    [
        pytest.param("edge", _one_path, _WHOLE, id="memory hits"),
        pytest.param("without-memory", _one_path, _WHOLE, id="KV hits"),
        pytest.param("edge", _one_path, reply(200, STALE, b"old"), id="stale hits that are refreshed"),
        pytest.param("edge", _new_paths, _WHOLE, id="misses"),
        pytest.param("edge", _new_paths, chunked(200, CACHED, [b"a", b"b"]), id="misses of chunked bodies"),
        pytest.param(
            "edge", _few_new_paths, reply(200, CACHED, b"x" * 1_100_000), id="misses of large bodies"
        ),
        pytest.param("edge", _new_paths, reply(200, [("Cache-Control", "no-store")], b"own"), id="no-store"),
        pytest.param("edge", _posts, reply(204), id="POSTs that invalidate"),
        pytest.param("edge", _crowd, _WHOLE.after(Pause(0.2)), id="requests that wait for another"),
        pytest.param("edge", _crowd, _WHOLE.after(Pause(0.8)), id="requests that lose patience"),
        pytest.param("edge", _new_paths, _SLOW_FIELDS, id="an origin that is too slow"),
        pytest.param("edge", _new_paths, _SLOW_BODY, id="bodies that are too slow"),
        pytest.param("edge", _new_paths, _SLOW_CHUNKS, id="chunks that are too slow"),
        pytest.param("edge", _new_paths, Reply((Reset(),)), id="an origin that resets"),
        pytest.param("edge", _leaving, _WHOLE.after(Pause(0.3)), id="clients that leave before the response"),
        pytest.param("edge", _leaving, _SLOW_FIELDS, id="clients that leave an origin that is too slow"),
        pytest.param("edge", _leaving, _SLOW_BODY, id="clients that leave in the middle of a body"),
        pytest.param("edge", _leaving, _SLOW_CHUNKS, id="clients that leave in the middle of chunks"),
    ],
)
def test_nothing_of_a_request_outlives_it(
    edge: Workerd,
    origin: ScriptedOrigin,
    breakable_kv: BreakableKV,
    worker: str,
    requests: Requests,
    answer: Reply,
) -> None:
    url = edge.url(worker)
    origin.otherwise(lambda _: answer)
    breakable_kv.reset()
    crowd(url, requests()[:10])
    _settled(url, Holdings.of(url))
    before = Holdings.of(url)

    crowd(url, requests())

    left = _settled(url, before)
    assert {name: more for name, more in left.items() if more > _FEW} == {}


def _settled(url: str, before: Holdings) -> dict[str, int]:
    """Return what requests left behind, once what goes on in the background is over."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        now = Holdings.of(url)
        left = {
            **now.left_by_requests(before),
            "waiting": now.pending - before.pending,
        }
        if max(left.values()) <= _FEW or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("requests", "answer"),
    [
        pytest.param(
            [Asked(f"/big?x={number}") for number in range(30) for _ in range(3)],
            reply(200, CACHED, b"x" * 1_000_000),
            id="bodies as large as memory takes, each repeated",
        ),
        pytest.param(
            [Asked("/varying", [("X-Language", f"{number}")]) for number in range(40) for _ in range(3)],
            reply(200, [*CACHED, ("Vary", "X-Language")], b"x" * 500_000),
            id="variants of one URL",
        ),
    ],
)
def test_the_budget_bounds_all_that_is_held(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, requests: list[Asked], answer: Reply
) -> None:
    breakable_kv.reset()
    origin.otherwise(lambda _: answer)
    empty = Holdings.of(edge.url("edge"))

    for at in range(0, len(requests), 3):
        crowd(edge.url("edge"), requests[at : at + 3])

    # Beside the budget there are Python itself and some 10 MiB of JavaScript's own heap; what the
    # runtime reads and writes meanwhile comes and goes.
    most = empty.wasm_bytes + _BUDGET_BYTES + 16 * _MIB
    eventually(lambda: held_bytes(edge, "edge") < most, f"less than {most} bytes")


def test_what_never_comes_is_given_up(tmp_path: Path) -> None:
    """As if the runtime had ended the requests: workerd alone does that only where it fails."""
    source = tmp_path / "worker"
    shutil.copytree(paths.WORKER, source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parent / "workers" / "lost" / "entry.py", source)

    with Workerd(tmp_path, [Worker("lost", source)]) as workerd:
        url = workerd.url("lost")
        held = {
            path: httpx.get(url + path, timeout=60, trust_env=False).raise_for_status().json()
            for path in ("/early", "/begin", "/in-time", "/late")
        }

    assert {path: told["coroutines"] for path, told in held.items()} == {
        "/early": 0,
        "/begin": 300,
        "/in-time": 300,
        "/late": 0,
    }
    assert Counter(held["/late"]["told"]) == {"ended": 150, "LostError": 100}
