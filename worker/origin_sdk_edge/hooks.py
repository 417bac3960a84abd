"""The user's own code around the cache: what hooks take and return, and how their module is loaded.

A hook is a plain function in ``worker/hooks.py``. One that is absent or does nothing costs nothing. One that
raises, or returns what it may not, is reported and never fails the request.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import FunctionType, MappingProxyType
from typing import Any, TypeAlias

from origin_sdk_wire.config import ConfigError
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.rule_tables import nearest

__all__ = [
    "AfterOrigin",
    "BeforeLookup",
    "BeforeSend",
    "HookAnswer",
    "HookError",
    "HookRequest",
    "HookResponse",
    "Hooks",
    "Report",
    "changed_fields",
    "load_hooks",
]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class HookError(Exception):
    """A hook did what it may not; the message says what, and the remedy."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request as hooks see it: ``url`` is absolute, ``fields`` are by name in lower case and read-only."""

    method: str
    url: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _read_only(self.fields))

    def with_url(self, url: str) -> "HookRequest":
        """Return the request for another URL."""
        return replace(self, url=url)

    def with_field(self, name: str, value: str) -> "HookRequest":
        """Return the request with a field set."""
        return replace(self, fields={**self.fields, name.lower(): value})

    def without_field(self, name: str) -> "HookRequest":
        """Return the request without a field."""
        return replace(self, fields=_without(self.fields, name))


@dataclass(frozen=True, slots=True)
class HookResponse:
    """A response as hooks see it, without its body; ``fields`` as in :class:`HookRequest`."""

    status: int
    fields: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _read_only(self.fields))

    def with_field(self, name: str, value: str) -> "HookResponse":
        """Return the response with a field set."""
        return replace(self, fields={**self.fields, name.lower(): value})

    def without_field(self, name: str) -> "HookResponse":
        """Return the response without a field."""
        return replace(self, fields=_without(self.fields, name))


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What ``before_lookup`` returns to answer at once, without cache and origin."""

    status: int
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _read_only(self.fields))


BeforeLookup: TypeAlias = Callable[[HookRequest], HookRequest | HookAnswer | None]
AfterOrigin: TypeAlias = Callable[[HookRequest, HookResponse], HookResponse | None]
BeforeSend: TypeAlias = Callable[[HookRequest, HookResponse], HookResponse]
Report: TypeAlias = Callable[[str, Exception], None]
"""Takes the name of a hook and what it raised."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks that do something, made safe: none raises, and one that changes nothing returns what it got.

    ``before_lookup`` returns ``None`` if it failed: the request then bypasses the cache, since what it
    should have changed may belong in the key. ``after_origin`` returns ``None`` if it failed: the response
    then isn't stored, since the hook may be what forbids it.
    """

    before_lookup: BeforeLookup | None = None
    after_origin: AfterOrigin | None = None
    before_send: BeforeSend | None = None


def load_hooks(module: object, report: Report) -> Hooks:
    """Take the hooks of ``module``; what they raise later goes to ``report``.

    Raises :class:`~origin_sdk_wire.config.ConfigError` for a hook that can't be called as one.
    """
    problems = [*_misspelt(module)]
    found: dict[str, Any] = {}
    for name, (guard, parameters) in _GUARDS.items():
        hook = getattr(module, name, None)
        if problem := _problem(hook, parameters):
            problems.append(f"hooks.{name}: {problem}")
        elif hook is not None and not _does_nothing(hook):
            found[name] = partial(guard, hook, report)
    if problems:
        raise ConfigError(tuple(problems))
    return Hooks(**found)


def changed_fields(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a hook did to fields: the new value of each name that it set, ``None`` for what it removed.

    Lines that it left alone, such as several of Set-Cookie, which can't be joined, don't appear.
    """
    changed: dict[str, str | None] = {
        name: value for name, value in after.items() if before.get(name) != value
    }
    return changed | {name: None for name in before if name not in after}


def _before_lookup(
    hook: BeforeLookup, report: Report, request: HookRequest
) -> HookRequest | HookAnswer | None:
    try:
        result = hook(request)
        if result is None or result is request:
            return request
        return (
            _accepted_answer(result) if isinstance(result, HookAnswer) else _accepted_request(request, result)
        )
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        report("before_lookup", error)
        return None


def _after_origin(
    hook: AfterOrigin, report: Report, request: HookRequest, response: HookResponse
) -> HookResponse | None:
    try:
        return _accepted_response(response, hook(request, response))
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        report("after_origin", error)
        return None


def _before_send(
    hook: AfterOrigin, report: Report, request: HookRequest, response: HookResponse
) -> HookResponse:
    try:
        return _accepted_response(response, hook(request, response))
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        report("before_send", error)
        return response


def _accepted_answer(answer: HookAnswer) -> HookAnswer:
    if not 200 <= answer.status <= 599:
        raise HookError(f"it answered with status {answer.status!r}; give one from 200 to 599")
    _require_valid(answer.fields)
    return answer


def _accepted_request(given: HookRequest, result: object) -> HookRequest:
    if not isinstance(result, HookRequest):
        raise HookError(f"it returned {result!r}; return a HookRequest, a HookAnswer, or None for no change")
    if result.method != given.method:
        raise HookError(f"it changed the method to {result.method!r}; the method stays as it came")
    parse_target(result.url)
    _require_valid(changed_fields(given.fields, result.fields))
    return result


def _accepted_response(given: HookResponse, result: object) -> HookResponse:
    if result is None:
        return given
    if not isinstance(result, HookResponse):
        raise HookError(f"it returned {result!r}; return a HookResponse, or None for no change")
    if result.status != given.status:
        raise HookError(f"it changed the status to {result.status!r}; the status stays as it came")
    _require_valid(changed_fields(given.fields, result.fields))
    return result


def _require_valid(fields: Mapping[str, str | None]) -> None:
    for name, value in fields.items():
        if not _NAME.fullmatch(name):
            raise HookError(f"{name!r} isn't the name of a field; use letters, digits and -")
        if not _VALUE.fullmatch(value or ""):
            raise HookError(f"{name} = {value!r} isn't a field's value; give one line of Latin-1 text")


def _read_only(fields: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({name.lower(): value for name, value in fields.items()})


def _without(fields: Mapping[str, str], name: str) -> dict[str, str]:
    return {kept: value for kept, value in fields.items() if kept != name.lower()}


def _misspelt(module: object) -> Iterator[str]:
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and name not in _GUARDS and (near := nearest(name, _GUARDS)):
            yield f"hooks.{name}: isn't a hook; did you mean {near}? If it is a helper of yours, rename it"


def _problem(hook: object, parameters: str) -> str:
    if hook is None:
        return ""
    if not isinstance(hook, FunctionType):
        return f"is {hook!r}; write a function of ({parameters})"
    if hook.__code__.co_flags & _ASYNCHRONOUS:
        return "is asynchronous, and hooks run between steps that don't wait; write a plain def"
    if not hook.__code__.co_flags & _VARIADIC and hook.__code__.co_argcount != parameters.count(",") + 1:
        return f"doesn't take ({parameters}); give it these parameters"
    return ""


def _does_nothing(hook: FunctionType) -> bool:
    """Whether the function's body is a docstring at most."""
    return hook.__code__.co_code in _EMPTY_BODIES


def _documented(_: object) -> None:
    """Stand for a function with a docstring and nothing else."""


def _bare(_: object) -> None:
    pass


_EMPTY_BODIES = (_documented.__code__.co_code, _bare.__code__.co_code)
# inspect's flags of *arguments, and of coroutines and generators, without the import.
_VARIADIC = 0x04
_ASYNCHRONOUS = 0x80 | 0x200 | 0x20
_GUARDS: Mapping[str, tuple[Callable[..., object], str]] = {
    "before_lookup": (_before_lookup, "request"),
    "after_origin": (_after_origin, "request, response"),
    "before_send": (_before_send, "request, response"),
}
