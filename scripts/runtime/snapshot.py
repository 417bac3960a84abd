"""Save the memory of a started interpreter, from which each Worker then starts in a tenth of the time.

A snapshot holds every module that was imported, so it is taken from a Worker whose main module has a name
that no other Worker uses.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.runtime import paths
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker

_SNAPSHOT = paths.PYODIDE / "snapshot.bin"
_MAIN = "_worker_of_the_snapshot.py"
_HANDLER = "def on_fetch(request, env, ctx):\n    raise NotImplementedError\n"


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


if __name__ == "__main__":
    build()
