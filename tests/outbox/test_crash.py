"""SIGKILL at random points, and Cloudflare's API on a bad day. `scripts/crash` kills 300 times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from scripts.runtime.crash import run


@pytest.mark.timeout(120)
@pytest.mark.parametrize("is_forked", [False, True], ids=["one process", "a server that forks workers"])
def test_every_committed_change_is_purged_and_no_other(engine: Engine, is_forked: bool) -> None:
    url = engine.url.render_as_string(hide_password=False)

    outcome = run(url, kills=20, is_forked=is_forked)

    assert outcome.is_good, outcome
    assert outcome.committed > 20
    assert outcome.receipts > 0
    assert {
        "throttled",
        "failed",
        "partly",
        "late",
        "dropped before",
        "dropped after",
    } <= outcome.faults.keys()


@pytest.mark.timeout(240)
def test_a_run_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    token = uuid4().hex
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    begun = "from scripts.runtime.crash import run; import sys; run(sys.argv[1], 1000, is_forked=True)"
    with subprocess.Popen([sys.executable, "-c", begun, url], env={**os.environ, "RUN": token}) as running:
        # The run, a server of forks, the server, and at least a worker.
        _wait_until(lambda: len(_processes_of(token)) >= 4)
        running.kill()

    _wait_until(lambda: not _processes_of(token))


def _wait_until(holds: Callable[[], bool], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _processes_of(token: str) -> list[str]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if token.encode() in environ.read_bytes():
                found.append(environ.parent.name)
    return found
