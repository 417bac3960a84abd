"""Pages that are made of the code: each command with its options, each public name with what it promises."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import typer

from origin_sdk.cli.app import app

__all__ = ["MODULES", "api", "commands"]

MODULES = (
    "origin_sdk",
    "origin_sdk.errors",
    "origin_sdk.responses",
    "origin_sdk.asgi",
    "origin_sdk.django",
    "origin_sdk.flask",
    "origin_sdk.forwarded",
    "origin_sdk.from_edge",
    "origin_sdk.outbox",
    "origin_sdk.outbox.sqlalchemy",
    "origin_sdk.outbox.sqlite",
    "origin_sdk.outbox.redis",
    "origin_sdk.outbox.django.store",
    "origin_sdk.outbox.alembic",
    "origin_sdk.events.django",
    "origin_sdk.events.sqlalchemy",
    "origin_sdk.events.calls",
    "origin_sdk.events.postgres",
    "origin_sdk.events.streams",
    "origin_sdk.events.webhook",
    "origin_sdk.layers",
    "origin_sdk.layers.sqlalchemy",
    "origin_sdk.layers.telemetry",
    "origin_sdk.testing",
    "origin_sdk.tracing",
    "origin_sdk_edge.hooks",
)
"""What users import."""

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")
_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")
_UNPACKED = re.compile(r"\*<class '?([\w.]+)'?>|Unpack\[([\w.]+)\]")
_MEMBER = re.compile(r"<(?:function |object )?([\w.]+)[^<>]*(?:<\w+>[^<>]*)?>")
_MARKUP = re.compile(r"\[/?(?:bold|dim|italic)[^\]]*\]")


def commands() -> str:
    """Return the page of `origin-sdk`: usage, what it does, arguments and options, of each command."""
    root: Any = typer.main.get_command(app)
    parts = ["# Reference: commands\n\nMade of the commands themselves; [what they are for](sdk-cli.md)."]
    for name in root.commands:
        parts += _command(root.commands[name], f"origin-sdk {name}", 2)
    return "\n\n".join(parts) + "\n"


def _command(command: Any, name: str, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} `{name}`"
    yield inspect.cleandoc(_MARKUP.sub("", command.help or ""))
    rows = [row for parameter in command.params if not parameter.hidden for row in _parameter(parameter)]
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows])
    for inner in getattr(command, "commands", {}).values():
        yield from _command(inner, f"{name} {inner.name}", depth + 1)


def _parameter(parameter: Any) -> Iterator[str]:
    if parameter.name in {"help", "install_completion", "show_completion"}:
        return
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
    shown = ", ".join(f"`{each}`" for each in names)
    yield f"| {shown} | {_cell(getattr(parameter, 'help', '') or '')} |"


def _cell(text: str) -> str:
    return " ".join(_MARKUP.sub("", text).split()).replace("|", "\\|")


def api() -> str:
    """Return the page of what users import, by module."""
    parts = ["# Reference: API\n\nMade of signatures and docstrings; [what they are for](sdk.md)."]
    for name in MODULES:
        module = import_module(name)
        parts += [f"## `{name}`", _text(module.__doc__)]
        for each in module.__all__:
            parts += _public(module, each)
    return "\n\n".join(part for part in parts if part) + "\n"


def _public(module: ModuleType, name: str) -> Iterator[str]:
    found = getattr(module, name)
    yield f"### `{name}`"
    if inspect.isclass(found) or callable(found):
        kind = (
            "class "
            if inspect.isclass(found)
            else "async def "
            if inspect.iscoroutinefunction(found)
            else "def "
        )
        yield f"```python\n{kind}{name}{_signature(found)}\n```"
    if found.__doc__ and (inspect.isclass(found) or inspect.isroutine(found)):
        yield _text(found.__doc__)
    if inspect.isclass(found):
        rows = [f"- `{each}{_signature(method)}`: {_first(method)}" for each, method in _methods(found)]
        yield "\n".join(rows)


def _methods(found: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(found).items():
        if not name.startswith("_") and inspect.isroutine(member) and member.__doc__:
            yield name, getattr(found, name)


class _Shown:
    """An annotation or a default, as it is read: without modules."""

    def __init__(self, value: Any) -> None:
        text = value if isinstance(value, str) else inspect.formatannotation(value)
        self._text = _MEMBER.sub(r"\1", _UNPACKED.sub(r"\1\2", _MODULE.sub("", text)))

    def __repr__(self) -> str:
        return self._text


def _signature(found: Any) -> str:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return "(…)"
    shown = [_parameter_shown(each) for each in signature.parameters.values() if each.name != "self"]
    result = signature.return_annotation
    returned = result if result is signature.empty else _Shown(result)
    return str(signature.replace(parameters=shown, return_annotation=returned))


def _parameter_shown(parameter: inspect.Parameter) -> inspect.Parameter:
    has_annotation, has_default = (
        value is not parameter.empty for value in (parameter.annotation, parameter.default)
    )
    return parameter.replace(
        annotation=_Shown(parameter.annotation) if has_annotation else parameter.empty,
        default=_Shown(repr(parameter.default).replace("<factory>", "…")) if has_default else parameter.empty,
    )


def _first(found: Any) -> str:
    return _text(found.__doc__).partition("\n\n")[0].replace("\n", " ")


def _text(docstring: str | None) -> str:
    """Return a docstring as Markdown."""
    return _ROLE.sub(r"`\1`", inspect.cleandoc(docstring or "")).replace("``", "`")
