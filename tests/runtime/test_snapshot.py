"""At its deploy Cloudflare saves a Worker's memory after its imports, and starts each isolate from that."""

from __future__ import annotations

from pathlib import Path

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from tests.runtime.client import ask
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply


def test_the_memory_of_the_worker_can_be_saved_after_its_imports_and_serves_from_there(
    origin: ScriptedOrigin, tmp_path: Path
) -> None:
    origin.on("/a", reply(200, [("Cache-Control", "max-age=60")], b"one"))
    worker, snapshots = Worker("edge", variables={"ORIGIN": origin.url}), tmp_path / "snapshots"
    snapshots.mkdir()
    with Workerd(tmp_path / "deploy", [worker], arguments=["--python-save-snapshot"], snapshots=snapshots):
        pass
    assert (snapshots / "snapshot.bin").exists()

    with Workerd(tmp_path / "run", [worker], snapshots=snapshots) as workerd:
        for _ in range(3):
            assert ask(workerd.url("edge"), "/a").body == b"one"
    assert len(origin.requests("/a")) == 1
