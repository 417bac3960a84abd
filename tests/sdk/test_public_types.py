"""Whatever a public call returns, or holds for its user, has a public name."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

import origin_sdk
import origin_sdk_wire

OURS = ("origin_sdk", "origin_sdk_wire")
PUBLIC = [
    "origin_sdk",
    *(
        module.name
        for module in pkgutil.walk_packages(origin_sdk.__path__, "origin_sdk.")
        if not any(part.startswith("_") for part in module.name.split("."))
        # Models need an application that is set up; the command has no calls; layers lists its names itself.
        and not module.name.startswith(
            ("origin_sdk.outbox.django", "origin_sdk.cli", "origin_sdk.dashboard", "origin_sdk.layers.")
        )
    ),
    *(f"origin_sdk.layers.{name}" for name in ("advice", "sqlalchemy", "telemetry")),
    *(module.name for module in pkgutil.walk_packages(origin_sdk_wire.__path__, "origin_sdk_wire.")),
]
# What the rules of the layered cache ask of a cache, and no user does; Client stands for redis-py's.
INTERNAL = {"Client", "Command", "Link", "MemoryEntry", "Record", "Script"}


def exported() -> Iterator[tuple[str, Any]]:
    for name in PUBLIC:
        module = importlib.import_module(name)
        for each in getattr(module, "__all__", ()):
            yield f"{name}.{each}", getattr(module, each)


def classes_in(annotation: Any) -> Iterator[type]:
    """Our own classes that an annotation names."""
    for part in (annotation, typing.get_origin(annotation)):
        if isinstance(part, type) and part.__module__.partition(".")[0] in OURS:
            yield part
    for argument in typing.get_args(annotation):
        for each in argument if isinstance(argument, list | tuple) else (argument,):
            yield from classes_in(each)


def hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing)
    except NameError:
        return {}  # a name that only type checkers see


def annotations(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a function returns, or what a class's public methods return and its public fields hold."""
    if inspect.isfunction(thing):
        yield "", hints(thing).get("return")
    if not isinstance(thing, type):
        return
    for name, member in inspect.getmembers(thing):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and callable(function):
            yield f".{name}", hints(function).get("return")
    if dataclasses.is_dataclass(thing):
        held = hints(thing)
        fields = (each.name for each in dataclasses.fields(thing) if not each.name.startswith("_"))
        yield from ((f".{name}", held.get(name)) for name in fields)


def test_every_type_that_a_public_call_returns_is_exported_and_documented() -> None:
    known = {thing for _, thing in exported() if isinstance(thing, type)}
    waiting, seen, missing = list(exported()), set[Any](), list[str]()
    while waiting:
        where, thing = waiting.pop()
        for name, annotation in annotations(thing):
            for found in classes_in(annotation):
                if found in seen or found.__name__ in INTERNAL:
                    continue
                seen.add(found)
                waiting.append((found.__qualname__, found))
                if found not in known or not (found.__doc__ or "").strip():
                    missing.append(f"{found.__module__}.{found.__qualname__}, of {where}{name}")
    assert missing == []
    assert len(seen) > 40


def test_the_layers_load_nothing_of_purging() -> None:
    import subprocess  # noqa: PLC0415 - here alone
    import sys  # noqa: PLC0415

    code = (
        "import sys, origin_sdk.layers\n"
        "print(sorted(name for name in sys.modules if name.startswith("
        "('origin_sdk._edge', 'origin_sdk._cloudflare', 'origin_sdk._responses', 'httpx'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
