"""Services and drainers whose clocks are hours apart, over one store: processes with their own clocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from scripts.runtime import paths
from scripts.runtime.redis_servers import ShiftedClock
from scripts.runtime.servers import Redis
from tests.outbox.machine import DELAY_SECONDS, LEASE_SECONDS

TOOK = 60.0
"""Longer than the processes of a test take."""
# Whatever the order in which a service and a drainer are ahead or behind.
HOURS = [
    pytest.param(5, -7, id="the service ahead"),
    pytest.param(-7, 5, id="the service behind"),
    pytest.param(0.4, -0.4, id="less than an hour apart"),
]


class Machines:
    """Runs steps over one store, each on a machine whose clock is ahead by so many hours."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._clock = ShiftedClock(folder / "clock")

    def run(self, step: str, hours: float) -> Mapping[str, Any]:
        ahead = hours * 3600
        self._clock.step(ahead)
        done = subprocess.run(
            (sys.executable, "-m", "tests.outbox.machine", self.url, step, str(ahead)),
            cwd=paths.ROOT,
            env={**os.environ, **self._clock.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.returncode, done.stderr
        seen: Mapping[str, Any] = json.loads(done.stdout)
        assert seen["now"] - ahead == pytest.approx(_now(), abs=TOOK), "the machine's clock is its own"
        return seen


def _now() -> float:
    return time.time()  # noqa: TID251 - what processes of other clocks are held against


@pytest.fixture(params=["PostgreSQL", "Redis streams", "SQLite file"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    """Over each kind of store. Those of a SQLite file are one machine, whose clock is set between steps."""
    if not ShiftedClock.is_possible():
        pytest.skip("no C compiler to make a clock with")
    if request.param == "SQLite file":
        return Machines(f"sqlite:///{tmp_path}/outbox.db", tmp_path)
    if request.param == "PostgreSQL":
        return Machines(request.getfixturevalue("postgres_url"), tmp_path)
    server: Redis = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return Machines(server.url, tmp_path)


@pytest.fixture
def apart(machines: Machines) -> Machines:
    if machines.url.startswith("sqlite"):
        pytest.skip("a file is on one machine")
    return machines


@pytest.mark.timeout(180)  # six interpreters start, one after the other
@pytest.mark.parametrize(("service", "drainer"), HOURS)
def test_delays_leases_and_lags_are_by_the_stores_clock(
    apart: Machines, service: float, drainer: float
) -> None:
    began = _now()
    assert 0 <= apart.run("record", service)["waited"] < TOOK
    seen = apart.run("fail", drainer)
    assert seen["failed"] == 1
    assert DELAY_SECONDS / 2 - TOOK < seen["due_in"] <= DELAY_SECONDS, "up to half of it is chance"
    assert apart.run("claim", service)["claimed"] == 0, "its delay isn't over on any machine"
    seen = apart.run("record", service) and apart.run("drain", drainer)
    assert seen["done"] == 1
    assert 0 < seen["lag"] < TOOK
    assert began <= seen["moment"] <= _now() + 10
    seen = apart.run("prune", drainer)
    assert (seen["pruned"], seen["counts"]) == (0, {"done": 1, "waiting": 1}), "it has only just ended"


@pytest.mark.parametrize("hours", [-7, 5])
def test_a_machine_whose_clock_is_set_between_its_steps_delivers_at_once(
    machines: Machines, hours: float
) -> None:
    machines.run("record", 0)
    seen = machines.run("claim", 0)
    assert seen["claimed"] == 1
    assert LEASE_SECONDS - TOOK < seen["due_in"] <= LEASE_SECONDS
    machines.run("record", hours)
    seen = machines.run("drain", hours)
    assert seen["done"] == (2 if machines.url.startswith("sqlite") else 1)
    assert seen["lag"] >= 0
    assert _now() - TOOK <= seen["moment"] <= _now() + 10
