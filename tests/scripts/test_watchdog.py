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
import shutil, sys, time
from contextlib import ExitStack
from pathlib import Path
from playwright.sync_api import sync_playwright
from origin_sdk._development.process import Process
from scripts.runtime import snapshot
from scripts.runtime.redis_servers import ClusterOfSix, RedisServer, SentinelSet
from scripts.runtime.servers import Postgres
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from scripts.runtime.wrangler import Wrangler

folder, stubborn = Path(sys.argv[1]), "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
with ExitStack() as stack:
    if sys.argv[2] == "all":
        stack.callback(SentinelSet(folder / "sentinels").stop)
        stack.callback(ClusterOfSix(folder / "cluster").stop)
        stack.enter_context(Wrangler(folder / "wrangler", snapshots=snapshot.deployed()))
        chromium = stack.enter_context(sync_playwright()).chromium
        stack.callback(chromium.launch(executable_path=shutil.which("chromium")).close)
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
@pytest.mark.parametrize(
    ("number", "which", "least"),
    [
        pytest.param(signal.SIGKILL, "all", 24, id="killed, with every kind of server"),
        pytest.param(signal.SIGTERM, "some", 5, id="terminated"),
        pytest.param(signal.SIGINT, "some", 5, id="Ctrl-C"),
    ],
)
def test_servers_end_with_who_started_them(
    number: signal.Signals, which: str, least: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), which],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "up\n"
        started = descendants(run.pid)
        assert len(started) >= least
        os.kill(run.pid, number)

    deadline = time.monotonic() + 30
    while left := {each for each in started if runs(each)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
