"""The real runtime for tests: an origin that is scripted, and Workers in workerd and in `wrangler dev`."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.runtime import paths, snapshot
from scripts.runtime.build import build
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, StandIn, Worker
from scripts.runtime.wrangler import Wrangler
from tests.runtime.kv import BreakableKV
from tests.runtime.origin import ScriptedOrigin

_RELAY = Path(__file__).parent / "workers" / "relay"


@pytest.fixture(scope="session", autouse=True)
def _stop_all_when_terminated() -> Iterator[None]:
    """Let SIGTERM, by which CI and `timeout` end a run, tear down what was started, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def running_origin() -> Iterator[ScriptedOrigin]:
    with ScriptedOrigin() as origin:
        yield origin


@pytest.fixture
def origin(running_origin: ScriptedOrigin) -> ScriptedOrigin:
    """The origin, with nothing scripted and nothing remembered."""
    running_origin.forget()
    return running_origin


@pytest.fixture(scope="session")
def running_kv() -> Iterator[BreakableKV]:
    with BreakableKV() as kv:
        yield kv


@pytest.fixture
def breakable_kv(running_kv: BreakableKV) -> BreakableKV:
    """A KV that works, is empty, and can be broken."""
    running_kv.reset()
    return running_kv


@pytest.fixture(scope="session")
def relays(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    """The harness's own Worker, as seen from two places, and over a KV that can be broken."""
    variables: dict[str, Json] = {
        "ORIGIN": running_origin.url,
        "GREETING": "hello",
        "RULES": [{"path": "/a"}],
    }
    stores: dict[str, Namespace | StandIn] = {
        "frankfurt": Namespace(location="frankfurt"),
        "osaka": Namespace(location="osaka"),
        "breakable": StandIn(running_kv.address),
    }
    workers = [
        Worker(name, _RELAY, variables=variables, stores={"CACHE": store}) for name, store in stores.items()
    ]
    with Workerd(tmp_path_factory.mktemp("relays"), workers) as workerd:
        yield workerd


@pytest.fixture(scope="session")
def worker_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wrangler.toml with a copy of the Worker, since one that is edited meanwhile would be reloaded."""
    tree = tmp_path_factory.mktemp("tree")
    build(tree / "build" / "worker")
    text = paths.WRANGLER_CONFIG.read_text(encoding="utf-8")
    (tree / "wrangler.toml").write_text(re.sub(r"(?m)^\[build\]\n(?:.+\n)*", "", text), encoding="utf-8")
    return tree


@pytest.fixture(scope="session")
def strict_url(
    running_origin: ScriptedOrigin, worker_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The cache under `wrangler dev`, as the RFCs have it."""
    variables = {"ORIGIN": running_origin.url, "PROFILE": "rfc9111"}
    folder = tmp_path_factory.mktemp("strict")
    with Wrangler(
        folder, variables=variables, config=worker_tree / "wrangler.toml", snapshots=snapshot.deployed()
    ) as wrangler:
        yield wrangler.url


@pytest.fixture(scope="session")
def safe_url(
    running_origin: ScriptedOrigin, worker_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The cache under `wrangler dev`, as it comes."""
    folder = tmp_path_factory.mktemp("safe")
    variables = {"ORIGIN": running_origin.url}
    with Wrangler(
        folder, variables=variables, config=worker_tree / "wrangler.toml", snapshots=snapshot.deployed()
    ) as wrangler:
        yield wrangler.url
