"""Build what wrangler takes from this repository: the Worker as it is deployed, beside its hooks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from origin_sdk._deployment.worker_code import deploy, put, starting_hooks, worker_code

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "worker"
_HOOKS = "hooks.py"


def build(folder: Path = BUILT) -> Path:
    """Bring a folder up to date, and return it."""
    deploy(folder, worker_code(), "checkout")
    put(folder / _HOOKS, starting_hooks().encode())
    return folder


@cache
def built() -> Path:
    """Return the folder, brought up to date once in a process."""
    return build()


if __name__ == "__main__":
    build()
