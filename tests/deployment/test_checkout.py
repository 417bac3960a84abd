"""What who only wants to run a checkout has on the disk, before and after: `scripts/test --bare`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import httpx
import pytest

from origin_sdk._development.process import Process
from scripts.runtime import paths
from scripts.runtime.versions import program
from tests.deployment.machines import BARE, REGISTRIES

pytestmark = [
    pytest.mark.skipif(not BARE, reason="it installs everything once more: scripts/test --bare"),
    pytest.mark.timeout(1800),
]

_MOST_MEBIBYTES = 350
_INSTALLED = (".venv", "node_modules", ".runtime", "build", ".wrangler")
_START_SECONDS = 600.0


@pytest.fixture
def checkout() -> Iterator[Path]:
    ground = Path(mkdtemp(prefix="checkout-"))
    subprocess.run(["git", "clone", "-q", paths.ROOT, ground / "tree"], check=True)
    yield ground / "tree"
    rmtree(ground, ignore_errors=True)


def test_what_is_installed_to_run_it_stays_small_once_it_has_run(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = _environment(checkout.parent)
    done = subprocess.run(
        ["scripts/install", "--to-run"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before = _mebibytes(checkout)
    with _development(checkout, environment) as (_, url):
        for _ in range(2):
            httpx.get(f"{url}/products/17", timeout=60).raise_for_status()
    # What the Worker logs as an error, wrangler has set in type by a program of its own.
    with _development(checkout, environment, "--origin", "http://127.0.0.1:1") as (dev, url):
        assert httpx.get(f"{url}/products/17", timeout=60).status_code == 502
        dev.wait_for(lambda: "502  origin-unreachable" in dev.output(), what="the request's line", seconds=60)
        assert httpx.get(f"{url}/products/18", timeout=60).status_code == 502
    after = _mebibytes(checkout)
    with capsys.disabled():
        print(f"\n  {before} MB to run it, {after} once it has run")  # noqa: T201 - CI shows it
    assert before <= after <= _MOST_MEBIBYTES


@contextmanager
def _development(
    checkout: Path, environment: Mapping[str, str], *options: str
) -> Iterator[tuple[Process, str]]:
    command = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), "scripts/dev"]
    log = checkout.parent / "dev.log"
    with Process("scripts/dev", [*command, "--port", "0", *options], log=log, folder=checkout) as dev:
        yield dev, dev.wait_for(lambda: _ready(dev.output()), what="being ready", seconds=_START_SECONDS)


def _environment(ground: Path) -> Mapping[str, str]:
    interpreter = program(BARE)
    assert interpreter, f"CPython {BARE} isn't on this machine: scripts/test --bare --python 3.13"
    home, tools = ground / "home", ground / "bin"
    home.mkdir()
    tools.mkdir()
    # Perhaps a script of pyenv's, which would look around in another home.
    told = subprocess.run(
        [interpreter, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=True
    )
    (tools / "python3").symlink_to(told.stdout.strip())
    given = {key: value for key, value in os.environ.items() if REGISTRIES.fullmatch(key)}
    return {**given, "HOME": str(home), "PATH": os.pathsep.join([str(tools), "/usr/bin", "/bin"])}


def _ready(output: str) -> str | None:
    ready = [line.partition(": ")[2] for line in output.splitlines() if line.startswith("ready: ")]
    return ready[0] if ready else None


def _mebibytes(checkout: Path) -> int:
    """Return what the folders that are made take of the disk."""
    folders = [name for name in _INSTALLED if (checkout / name).exists()]
    told = subprocess.run(
        ["du", "-cm", "-s", *folders], cwd=checkout, capture_output=True, text=True, check=True
    )
    return int(told.stdout.splitlines()[-1].split()[0])
