"""Check what each room of the tree may import. Ruff bans single names (TID251); this is the whole picture.

Beside the standard library, a file may import what its room allows: these names and everything below them.
The first room that a file lies in is its own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_RUNTIME = ("js", "pyodide")
_POLICY = ("edgecache.policy", "edgecache.claims")

WORKER_ROOMS: Mapping[str, tuple[str, ...]] = {
    "worker/cachewire/": ("cachewire",),
    "worker/edgecache/policy/": ("cachewire", *_POLICY),
    "worker/edgecache/adapters/": ("cachewire", "edgecache", *_RUNTIME),
    "worker/edgecache/": ("cachewire", "edgecache"),
    "worker/": ("cachewire", "edgecache", "hooks", *_RUNTIME),
}
# Outside the Worker any package may be used, but for the rooms of the other side.
BANNED_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "origin_sdk/": ("edgecache", "entry", "hooks", "workers", "scripts", "tests", *_RUNTIME),
    "examples/": ("edgecache", "entry", "hooks", "workers", "scripts", "tests", *_RUNTIME),
    "scripts/benches/workers/": (),
    "scripts/runtime/workers/": (),
    "scripts/runtime/fuzz.py": ("entry", "hooks", "workers", "tests", *_RUNTIME),
    "scripts/": ("edgecache", "entry", "hooks", "workers", "tests", *_RUNTIME),
}
# The adapters are known to the wiring alone.
ADAPTERS = "edgecache.adapters"
MAY_IMPORT_ADAPTERS = ("worker/entry.py", "worker/edgecache/adapters/")


def violations(path: str, source: str) -> Iterator[str]:
    """Yield one line for each import of `source` that is not allowed in the file at `path`."""
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            if not _may_import(path, module):
                yield f"{path}:{getattr(node, 'lineno', 0)}: {module} may not be imported here"


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return [f"{module}.{name.name}" for name in names]
        case _:
            return []


def _may_import(path: str, module: str) -> bool:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    if _below(module, ADAPTERS) and not path.startswith(MAY_IMPORT_ADAPTERS):
        return False
    for room, allowed in WORKER_ROOMS.items():
        if path.startswith(room):
            return any(_below(module, name) for name in allowed)
    for room, banned in BANNED_ELSEWHERE.items():
        if path.startswith(room):
            return not any(_below(module, name) for name in banned)
    return True


def _below(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def main() -> int:
    """Check the whole tree, print what is wrong, and return the exit code."""
    found = [
        violation
        for room in ("worker", "origin_sdk", "examples", "scripts")
        for file in sorted((_ROOT / room).rglob("*.py"))
        for violation in violations(file.relative_to(_ROOT).as_posix(), file.read_text(encoding="utf-8"))
    ]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
