"""Save the memory of a started interpreter, from which Workers start in a tenth of the time.

The one that scripts/install makes is of an interpreter alone, and is for any Worker. A snapshot holds every
module that was imported, so it is taken from a Worker whose main module has a name that no other Worker uses.

The other is of the project's own Worker after its imports, which is what Cloudflare saves at a deploy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.runtime import paths
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker, encode

__all__ = ["build", "deployed", "save_memory", "state_of"]

_SNAPSHOT = paths.PYODIDE / "snapshot.bin"
_MAIN = "_worker_of_the_snapshot.py"
_HANDLER = "def on_fetch(request, env, ctx):\n    raise NotImplementedError\n"
_DEPLOYED = paths.RUNTIME / "deployed"
_BLOCK_BYTES = 4096
_KEPT = 3
"""Of how many states of the Worker the memory is kept."""


def build() -> None:
    """Start a Worker without the present snapshot, and let workerd write a new one."""
    _SNAPSHOT.unlink(missing_ok=True)
    with TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        source.mkdir()
        (source / _MAIN).write_text(_HANDLER, encoding="utf-8")
        worker = Worker("snapshot", source, main=_MAIN)
        with Workerd(Path(scratch, "run"), [worker], arguments=["--python-save-baseline-snapshot"]):
            pass
    _leave_holes(_SNAPSHOT)


def _leave_holes(file: Path) -> None:
    """Write a file anew that takes no room on the disk where it is empty: half of a memory is."""
    content, empty = file.read_bytes(), bytes(_BLOCK_BYTES)
    new = file.with_suffix(".new")
    with new.open("wb") as output:
        for start in range(0, len(content), _BLOCK_BYTES):
            block = content[start : start + _BLOCK_BYTES]
            if block == empty:
                output.seek(_BLOCK_BYTES, os.SEEK_CUR)
            else:
                output.write(block)
        output.truncate(len(content))
    new.replace(file)


def save_memory(worker: Worker, folder: Path) -> Path:
    """Save the memory of ``worker`` after its imports, as a deploy does, and return the folder of it."""
    snapshots = folder / "snapshots"
    snapshots.mkdir(parents=True)
    with Workerd(folder, [worker], arguments=["--python-save-snapshot"], snapshots=snapshots):
        return snapshots


def deployed() -> Path:
    """Return the folder that has the memory of the project's Worker, saved once for each state of its files.

    It is for processes in which every Worker of Python is this one: what was imported isn't imported again.
    """
    worker = Worker("deployed")
    folder = _DEPLOYED / state_of(worker)
    with _turn():
        if folder.is_dir():
            os.utime(folder)
        else:
            with TemporaryDirectory(dir=_DEPLOYED.parent) as scratch:
                save_memory(worker, Path(scratch)).rename(folder)
            for old in sorted(_DEPLOYED.iterdir(), key=lambda each: -each.stat().st_mtime)[_KEPT:]:
                shutil.rmtree(old)
    return folder


def state_of(worker: Worker) -> str:
    """Name what a Worker's memory depends on: its files and settings, the runtime, and its Pyodide."""
    bundle = (paths.PYODIDE / "pyodide_dev.capnp.bin").stat()
    parts = (
        encode(Path("run"), [worker]),
        (paths.ROOT / "package-lock.json").read_bytes(),
        f"{bundle.st_size} {bundle.st_mtime_ns}".encode(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextmanager
def _turn() -> Iterator[None]:
    """Let one process at a time look for a memory, and save one."""
    _DEPLOYED.mkdir(parents=True, exist_ok=True)
    with (_DEPLOYED.parent / "deployed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    build()
