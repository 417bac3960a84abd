"""`scripts/dev`: from nothing to a Worker in front of an origin, and back to nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from origin_sdk._development import watchdog
from scripts.runtime import paths
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply

pytestmark = pytest.mark.timeout(180)  # it starts wrangler up to three times

_COMMAND = [sys.executable, "-m", "scripts.runtime.dev"]
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class Dev:
    """A running scripts/dev, as a user has it in a terminal."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*_COMMAND, *arguments],
                cwd=paths.ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        watchdog.guard(self.process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while "try:" not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        self.url = self.said("ready")

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def said(self, name: str) -> str:
        found = re.search(rf"^{name}: (\S+)", self.output(), re.MULTILINE)
        assert found, self.output()
        return found[1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_STOP_SECONDS)

    def left_behind(self) -> list[str]:
        """Return the running programs that belong to it, by its port."""
        port = self.url.rpartition(":")[2]
        mine = re.compile(rf"(127\.0\.0\.1:|\.runtime/dev/){port}\b")
        return [line for _, line in _programs() if mine.search(line)]


@contextmanager
def running(folder: Path, *arguments: str, is_watched: bool = False) -> Iterator[Dev]:
    alone = [] if is_watched else ["--no-dashboard", "--no-traffic"]
    dev = Dev([*arguments, *alone], folder)
    try:
        yield dev
    finally:
        dev.stop()


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        free: int = listener.getsockname()[1]
        return free


_STAGING = """
[env.staging]
[[env.staging.kv_namespaces]]
binding = "CACHE"
id = "of-staging"
[env.staging.vars]
ORIGIN = "http://127.0.0.1:2"
"""


def test_it_stands_in_front_of_any_origin_by_any_configuration_and_a_variable_wins(
    tmp_path: Path, port: int, origin: ScriptedOrigin, worker_tree: Path
) -> None:
    origin.on("/a", reply(200, [("Cache-Control", "no-store")], b"from the origin"))
    config = worker_tree / "staging.toml"
    config.write_text((worker_tree / "wrangler.toml").read_text() + _STAGING)
    arguments = ["--origin", "http://127.0.0.1:1", "--config", str(config), "--env", "staging"]

    with running(tmp_path, *arguments, "--port", str(port), "--var", f"ORIGIN:{origin.url}") as dev:
        assert dev.url == f"http://127.0.0.1:{port}"
        assert dev.said("KV REST API").endswith("/namespaces/of-staging")
        assert httpx.get(f"{dev.url}/a").text == "from the origin"
        assert "nothing answers at http://127.0.0.1:1 yet" in dev.output()


def test_it_stops_all_that_it_started_and_keeps_what_it_stored_only_when_asked(
    tmp_path: Path, port: int, origin: ScriptedOrigin
) -> None:
    origin.on("/a", reply(200, [("Cache-Control", "max-age=600")], b"a"))
    arguments = ["--origin", origin.url, "--port", str(port)]

    with running(tmp_path, *arguments) as first:
        httpx.get(f"{first.url}/a")
        kv = re.search(r"KV REST API: (\S+)", first.output())
        assert kv is not None
        stored = _stored(kv[1])
        assert first.left_behind()
        assert first.stop(signal.SIGTERM) == 0
        assert first.left_behind() == []
    with running(tmp_path, *arguments, "--keep") as second:
        assert _stored(kv[1]) == stored
        assert second.stop(signal.SIGINT) == 0
        assert second.left_behind() == []
    with running(tmp_path, *arguments):
        assert _stored(kv[1]) == []


def test_the_demo_origin_answers_and_its_end_is_an_error(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as dev:
        assert httpx.get(f"{dev.url}/products/17").status_code == 200
        demo_port = dev.said("origin").rpartition(":")[2]

        [demo] = [id_ for id_, line in _programs() if line.endswith(f"examples.catalogue --port {demo_port}")]
        os.kill(demo, signal.SIGKILL)

        assert dev.process.wait(_STOP_SECONDS) == 1
        assert "the demo origin ended by itself, with exit code -9" in dev.output()
        assert dev.left_behind() == []


def test_the_dashboard_shows_the_demos_traffic(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--dashboard-port", "0")
    with running(tmp_path, *arguments, is_watched=True) as dev:
        assert re.match(r"(?:scripts/dev: .*\n)*dashboard: http://127\.0\.0\.1:", dev.output())
        page = dev.said("dashboard").partition("#")[0]
        deadline = time.monotonic() + _START_SECONDS
        board = httpx.get(f"{page}api/board").raise_for_status().json()
        while not any(host["name"].startswith("shop.localhost:") for host in board["hosts"]):
            assert time.monotonic() < deadline, board["sources"]
            time.sleep(0.2)
            board = httpx.get(f"{page}api/board").raise_for_status().json()
        assert board["may_purge"]
        assert "shop.localhost" not in dev.output(), "its requests would hide one's own"
        assert dev.stop() == 0
        assert dev.left_behind() == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        pytest.param(["--origin", "localhost:8000"], 2, "'localhost:8000' is not an origin", id="no scheme"),
        pytest.param(["--origin", "http://h:99999"], 2, "is not an origin", id="an impossible port"),
        pytest.param(["--origin", "http://h/?q"], 2, "is not an origin", id="a query"),
        pytest.param(["--config", "no.toml"], 1, "there is no no.toml: give", id="a file that isn't there"),
        pytest.param(["--env", "no"], 1, "has no [env.no]", id="an environment that isn't there"),
        pytest.param(["--port", "http"], 2, "'http' is not a port", id="a port that is no number"),
        pytest.param(["--var", "ORIGIN"], 2, "'ORIGIN' is not a variable", id="a variable without a value"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(arguments: list[str], exit_code: int, message: str) -> None:
    done = subprocess.run(
        [*_COMMAND, *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=100
    )

    assert done.returncode == exit_code
    assert message in done.stderr


def test_a_port_that_is_taken_is_an_error(origin: ScriptedOrigin) -> None:
    done = subprocess.run(
        [*_COMMAND, "--port", str(origin.port)],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 1
    assert f"port {origin.port} can't be used" in done.stderr
    assert "choose another one with --port N" in done.stderr


def _programs() -> list[tuple[int, str]]:
    """Return the id and the command line of every program that runs."""
    command = ["ps", "-ww", "-A", "-o", "pid=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(int(id_), line) for id_, line in (entry.split(maxsplit=1) for entry in listed.splitlines())]


def _stored(kv_url: str) -> list[str]:
    keys = httpx.get(f"{kv_url}/keys").raise_for_status().json()["result"]
    return sorted(key["name"] for key in keys)
