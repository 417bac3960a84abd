"""Services and drainers whose clocks are hours apart, over one store: processes with their own clocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from scripts.runtime import paths
from scripts.runtime.servers import Redis
from scripts.runtime.shifted_clock import ShiftedClock
from tests.outbox.machine import DELAY_SECONDS, LEASE_SECONDS

TOOK = 60.0
"""Longer than the processes of a test take."""
# Whatever the order in which a service and a drainer are ahead or behind.
HOURS = [
    pytest.param(5, -7, id="the service ahead"),
    pytest.param(-7, 5, id="the service behind"),
    pytest.param(0.4, -0.4, id="less than an hour apart"),
]


@dataclass(frozen=True)
class Steps:
    """Runs steps one after the other, each a process whose clock is ahead by so many seconds."""

    clock: ShiftedClock
    processes: subprocess.Popen[str]

    def run(self, url: str, step: str, ahead: float) -> Mapping[str, Any]:
        assert self.processes.stdin
        assert self.processes.stdout
        self.clock.step(ahead)
        self.processes.stdin.write(f"{json.dumps([url, step, ahead])}\n")
        self.processes.stdin.flush()
        seen: Mapping[str, Any] = json.loads(self.processes.stdout.readline())
        assert "raised" not in seen, seen["raised"]
        return seen


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    if not ShiftedClock.is_possible():
        pytest.skip("no C compiler to make a clock with")
    clock = ShiftedClock(tmp_path_factory.mktemp("clock") / "clock")
    with subprocess.Popen(
        (sys.executable, "-m", "tests.outbox.machine"),
        cwd=paths.ROOT,
        env={**os.environ, **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as processes:
        yield Steps(clock, processes)


@dataclass(frozen=True)
class Machines:
    """Runs steps over one store, each on a machine whose clock is ahead by so many hours."""

    url: str
    steps: Steps

    def run(self, step: str, hours: float) -> Mapping[str, Any]:
        ahead = hours * 3600
        seen = self.steps.run(self.url, step, ahead)
        assert seen["now"] - ahead == pytest.approx(_now(), abs=TOOK), "the machine's clock is its own"
        return seen


def _now() -> float:
    return time.time()  # noqa: TID251 - what processes of other clocks are held against


@pytest.fixture(params=["PostgreSQL", "Redis streams", "SQLite file"])
def machines(request: pytest.FixtureRequest, steps: Steps, tmp_path: Path) -> Machines:
    """Over each kind of store. Those of a SQLite file are one machine, whose clock is set between steps."""
    if request.param == "SQLite file":
        return Machines(f"sqlite:///{tmp_path}/outbox.db", steps)
    if request.param == "PostgreSQL":
        return Machines(request.getfixturevalue("postgres_url"), steps)
    server: Redis = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return Machines(server.url, steps)


@pytest.fixture
def apart(machines: Machines) -> Machines:
    if machines.url.startswith("sqlite"):
        pytest.skip("a file is on one machine")
    return machines


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
