import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

_ROOT = Path(__file__).parents[3]


@contextmanager
def _running(scratch: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; give the process and the URL that it printed."""
    command = [sys.executable, "-m", "examples.catalogue", "--port", "0", *options]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "running on" in line)
            yield process, next(word for word in line.split() if word.startswith("http://"))
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_stopped_and_leaves_nothing_behind(
    tmp_path: Path, stop: signal.Signals
) -> None:
    with _running(tmp_path) as (process, url):
        assert httpx.get(f"{url}/products/17").json()["id"] == 17
        assert httpx.head(f"{url}/products/17").headers["content-length"] != "0"
        assert list(tmp_path.glob("catalogue-*/catalogue.sqlite3"))
        process.send_signal(stop)
        assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_was_named_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite3"
    for expected in (2, 3):
        with _running(tmp_path, "--database", str(path)) as (process, url):
            changed = httpx.patch(f"{url}/products/17", json={"stock": expected})
            assert changed.json()["revision"] == expected
            process.terminate()
            assert process.wait() == 0
