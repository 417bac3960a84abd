"""A run that is killed leaves no server behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.runtime import paths

RUN = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from origin_sdk._development.process import Process
from scripts.runtime.redis_servers import RedisServer
from scripts.runtime.servers import Postgres
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker

folder, stubborn = Path(sys.argv[1]), "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
with ExitStack() as stack:
    redis = stack.enter_context(RedisServer(folder / "redis"))
    redis.freeze()
    stack.enter_context(Postgres())
    relay = Worker("relay", Path("tests/runtime/workers/relay"), variables={"GREETING": "hello"})
    stack.enter_context(Workerd(folder / "workerd", [relay]))
    stack.enter_context(Process("p", [sys.executable, "-c", stubborn], log=folder / "log", folder=folder))
    print("up", flush=True)
    time.sleep(60)
"""


def descendants(of: int) -> set[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.stdout.splitlines())}
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {of}


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_who_started_them(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], cwd=paths.ROOT, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "up\n"
        started = descendants(run.pid)
        assert len(started) >= 5
        os.kill(run.pid, number)

    deadline = time.monotonic() + 30
    while left := {each for each in started if runs(each)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
