"""Check what each room of the tree may import. Ruff bans single names (TID251); this is the whole picture.

Beside the standard library, a file may import what its room allows: these names and everything below them.
The first room that a file lies in is its own. Modules never import each other in a circle: imports for types
and inside functions count.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_RUNTIME = ("js", "pyodide", "workers")
_OURS = ("origin_sdk_wire", "origin_sdk")
_POLICY = ("origin_sdk_edge.policy", "origin_sdk_edge.claims")

WORKER_ROOMS: Mapping[str, tuple[str, ...]] = {
    "worker/origin_sdk_wire/": ("origin_sdk_wire",),
    "worker/origin_sdk_edge/policy/": ("origin_sdk_wire", *_POLICY),
    "worker/origin_sdk_edge/adapters/": ("origin_sdk_wire", "origin_sdk_edge", *_RUNTIME),
    "worker/origin_sdk_edge/": ("origin_sdk_wire", "origin_sdk_edge"),
    "worker/": ("origin_sdk_wire", "origin_sdk_edge", "hooks", *_RUNTIME),
}
# What the rooms of the SDK may import of the SDK itself; of origin_sdk_wire they all may.
_VALUES = ("origin_sdk._values",)
_SHARED = ("origin_sdk._values", "origin_sdk._process", "origin_sdk._flow")
_PURGING = (*_SHARED, "origin_sdk._cloudflare", "origin_sdk._edge")
_FRAMEWORKS = (*_SHARED, "origin_sdk._responses", "origin_sdk.responses")
SDK_ROOMS: Mapping[str, tuple[str, ...]] = {
    "origin_sdk/_values/": _VALUES,
    "origin_sdk/_process/": _SHARED,
    "origin_sdk/_cloudflare/": (*_SHARED, "origin_sdk._cloudflare"),
    "origin_sdk/_edge/": (*_PURGING, "origin_sdk._responses"),
    "origin_sdk/_responses/": (*_SHARED, "origin_sdk._responses"),
    "origin_sdk/outbox/django/management/": ("origin_sdk",),
    "origin_sdk/outbox/": (*_PURGING, "origin_sdk.outbox", "origin_sdk.layers"),
    "origin_sdk/events/": (*_SHARED, "origin_sdk.events", "origin_sdk.outbox", "origin_sdk.layers"),
    "origin_sdk/layers/sqlalchemy.py": (*_SHARED, "origin_sdk.layers", "origin_sdk.outbox.sqlalchemy"),
    "origin_sdk/layers/django/": (*_SHARED, "origin_sdk.layers", "origin_sdk.outbox.django"),
    "origin_sdk/layers/": (*_SHARED, "origin_sdk.layers"),
    "origin_sdk/_deployment/": (*_SHARED, "origin_sdk._deployment"),
    "origin_sdk/_development/": (*_SHARED, "origin_sdk._development"),
    "origin_sdk/testing/": ("origin_sdk",),
    "origin_sdk/advice/": (*_SHARED, "origin_sdk.simulation", "origin_sdk.advice"),
    "origin_sdk/simulation/": (*_SHARED, "origin_sdk.simulation"),
    "origin_sdk/cli/": ("origin_sdk",),
    "origin_sdk/dashboard/": (*_PURGING, "origin_sdk.dashboard", "origin_sdk.outbox"),
    "origin_sdk/__init__.py": _PURGING,
    "origin_sdk/errors.py": _VALUES,
    "origin_sdk/_flow.py": (),
    "origin_sdk/": _FRAMEWORKS,
}
# These rooms do without any package.
STANDARD_LIBRARY_ONLY = ("origin_sdk/_values/", "origin_sdk/_process/", "origin_sdk/_responses/")
# What simulates has the Worker's policy, and not what carries it out.
_OF_SIMULATION = (
    *("origin_sdk_edge.adapters", "origin_sdk_edge.handler", "entry", "hooks", "workers", "tests"),
    *_RUNTIME,
)
# Outside the Worker any package may be used, but for the rooms of the other side.
BANNED_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    # It is driven by the Worker's own policy, and holds what the Worker would hold.
    "origin_sdk/simulation/": (*_OF_SIMULATION, "scripts"),
    "origin_sdk/": ("origin_sdk_edge", "entry", "hooks", "workers", "scripts", "tests", *_RUNTIME),
    "examples/": ("origin_sdk_edge", "entry", "hooks", "workers", "scripts", "tests", *_RUNTIME),
    "scripts/benches/workers/": (),
    "scripts/runtime/workers/": (),
    "scripts/benches/apis.py": _OF_SIMULATION,
    "scripts/benches/scale.py": _OF_SIMULATION,
    "scripts/runtime/fuzz_edge.py": ("entry", "hooks", "workers", "tests", *_RUNTIME),
    "scripts/": ("origin_sdk_edge", "entry", "hooks", "workers", "tests", *_RUNTIME),
}
_LAYERS = "origin_sdk.layers"
_VERBS = (f"{_LAYERS}.cache", f"{_LAYERS}.async_cache", f"{_LAYERS}.django", f"{_LAYERS}.sqlalchemy")
# Rooms that may not import these, even of the standard library: what decides neither waits nor reads a clock.
BANNED_ROOMS: Mapping[str, tuple[str, ...]] = {
    "origin_sdk/layers/rules/": (
        *("asyncio", "concurrent", "random", "redis", "socket", "threading", "time"),
        *(f"{_LAYERS}.redis.{room}" for room in ("client", "async_client", "listener", "failures", "wire")),
        *_VERBS,
    ),
    "origin_sdk/layers/values/": (
        *("asyncio", "redis", "threading", "time"),
        *(f"{_LAYERS}.{room}" for room in ("rules", "process", "redis")),
        *_VERBS,
    ),
    "origin_sdk/layers/process/": ("redis", f"{_LAYERS}.rules", f"{_LAYERS}.redis", *_VERBS),
    "origin_sdk/layers/redis/": (f"{_LAYERS}.rules", *_VERBS),
}
# What lies below these imports nothing in a circle.
ACYCLIC = ("origin_sdk/", "worker/")
# The adapters are known to the wiring alone.
ADAPTERS = "origin_sdk_edge.adapters"
MAY_IMPORT_ADAPTERS = ("worker/entry.py", "worker/origin_sdk_edge/adapters/")


def violations(path: str, source: str) -> Iterator[str]:
    """Yield one line for each import of `source` that is not allowed in the file at `path`."""
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            if not _may_import(path, module):
                yield f"{path}:{getattr(node, 'lineno', 0)}: {module} may not be imported here"


def circles(sources: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each circle of imports among `sources`, which maps paths to source text."""
    modules = {_module(path): source for path, source in sources.items()}
    imports = {module: set(_imports_of(source, modules)) - {module} for module, source in modules.items()}
    sorter = TopologicalSorter(imports)
    try:
        sorter.prepare()
    except CycleError as error:
        yield f"imports run in a circle: {' → '.join(error.args[1])}"


def _module(path: str) -> str:
    return path.removeprefix("worker/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports_of(source: str, modules: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        for name in _imported(node):
            # `from package import module` names a module, or a name in one.
            found = name if name in modules else name.rpartition(".")[0]
            if found in modules:
                yield found


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return [f"{module}.{name.name}" for name in names]
        case _:
            return []


def _may_import(path: str, module: str) -> bool:
    if _is_any_below(module, _of_room(BANNED_ROOMS, path) or ()):
        return False
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    if _below(module, ADAPTERS) and not path.startswith(MAY_IMPORT_ADAPTERS):
        return False
    if (allowed := _of_room(WORKER_ROOMS, path)) is not None:
        return _is_any_below(module, allowed)
    if _below(module, "origin_sdk") and (allowed := _of_room(SDK_ROOMS, path)) is not None:
        return _is_any_below(module, allowed)
    return _may_import_packages(path, module)


def _may_import_packages(path: str, module: str) -> bool:
    if path.startswith(STANDARD_LIBRARY_ONLY):
        return _is_any_below(module, _OURS)
    return not _is_any_below(module, _of_room(BANNED_ELSEWHERE, path) or ())


def _of_room(rooms: Mapping[str, tuple[str, ...]], path: str) -> tuple[str, ...] | None:
    return next((names for room, names in rooms.items() if path.startswith(room)), None)


def _is_any_below(module: str, names: tuple[str, ...]) -> bool:
    return any(_below(module, name) for name in names)


def _below(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def main() -> int:
    """Check the whole tree, print what is wrong, and return the exit code."""
    sources = {
        file.relative_to(_ROOT).as_posix(): file.read_text(encoding="utf-8")
        for room in ("worker", "origin_sdk", "examples", "scripts")
        for file in sorted((_ROOT / room).rglob("*.py"))
    }
    found = [line for path, source in sources.items() for line in violations(path, source)]
    found += circles({path: source for path, source in sources.items() if path.startswith(ACYCLIC)})
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
