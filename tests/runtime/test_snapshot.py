"""At its deploy Cloudflare saves a Worker's memory after its imports, and starts each isolate from that."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.runtime.build import built
from scripts.runtime.snapshot import deployed, save_memory, state_of
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from tests.runtime.client import ask
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply


def test_the_memory_of_the_worker_can_be_saved_after_its_imports_and_serves_from_there(
    origin: ScriptedOrigin, tmp_path: Path
) -> None:
    origin.on("/a", reply(200, [("Cache-Control", "max-age=60")], b"one"))
    worker = Worker("edge", variables={"ORIGIN": origin.url})
    snapshots = save_memory(worker, tmp_path / "deploy")
    assert (snapshots / "snapshot.bin").exists()

    with Workerd(tmp_path / "run", [worker], snapshots=snapshots) as workerd:
        for _ in range(3):
            assert ask(workerd.url("edge"), "/a").body == b"one"
    assert len(origin.requests("/a")) == 1


def test_the_memory_that_tests_start_from_is_saved_once_for_each_state_of_the_worker(tmp_path: Path) -> None:
    assert deployed() == deployed()
    assert (deployed() / "snapshot.bin").exists()

    copy, edited = tmp_path / "copy", tmp_path / "edited"
    for tree in (copy, edited):
        shutil.copytree(built(), tree)
    with (edited / "origin_sdk_edge" / "handler.py").open("a") as file:
        file.write("# edited\n")
    assert state_of(Worker("edge")) == state_of(Worker("edge", copy)) != state_of(Worker("edge", edited))
