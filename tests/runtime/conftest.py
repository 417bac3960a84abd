"""The real runtime for tests: an origin that is scripted, and Workers in workerd and in `wrangler dev`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Namespace, StandIn, Worker
from tests.runtime.kv import BreakableKV
from tests.runtime.origin import ScriptedOrigin

_RELAY = Path(__file__).parent / "workers" / "relay"


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
