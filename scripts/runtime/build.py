"""Build what wrangler takes from this repository: the Worker as it is deployed, beside its hooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from origin_sdk._deployment.shield_config import put_shield
from origin_sdk._deployment.worker_code import deploy, put, worker_code
from origin_sdk._values.errors import InvalidSettings

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "worker"


def build(folder: Path = BUILT, source: Path = ROOT / "worker") -> Path:
    """Bring a folder up to date, and return it.

    The hooks, and whatever else lies beside them in ``source``, are there as they are.
    """
    code, others = worker_code(), _files(source)
    own = {name: file for name, file in others.items() if not _is_ours(name, code)}
    deploy(folder, code, "checkout")
    for name, file in own.items():
        put(folder / name, file.read_bytes())
    for name, file in _files(folder).items():
        if name not in own and not _is_ours(name, code):
            file.unlink(missing_ok=True)
    return folder


def _files(folder: Path) -> Mapping[str, Path]:
    """Return the files in a folder, by their path in it; none that an editor, Python or a build hides."""
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        files = (Path(place, name) for name in names if not name.startswith("."))
        found |= {file.relative_to(folder).as_posix(): file for file in files if file.is_file()}
    return found


def _is_ours(name: str, code: Mapping[str, bytes]) -> bool:
    return name in code or name.partition("/")[0] in {each.partition("/")[0] for each in code}


@cache
def built() -> Path:
    """Return the folder, brought up to date once in a process."""
    return build()


if __name__ == "__main__":
    try:
        build()
        put_shield(ROOT / "wrangler.toml")
    except (InvalidSettings, OSError) as error:
        sys.exit(f"scripts/build: {error}")
