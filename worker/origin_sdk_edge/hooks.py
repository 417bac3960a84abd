"""The user's own code around the cache: what hooks take and return, and how their module is loaded.

A hook is a function in ``worker/hooks.py``, perhaps ``async``. One that is absent or does nothing costs
nothing. One that raises, takes too long or returns what it may not is reported and never fails the request.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType, MappingProxyType
from typing import Any, TypeAlias

from origin_sdk_edge.policy.facts import WITHOUT_CONTENT
from origin_sdk_edge.ports import LateError, Report, Work
from origin_sdk_wire.config import ConfigError
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.rule_tables import nearest
from origin_sdk_wire.settings import Settings

__all__ = [
    "AfterOrigin",
    "BeforeLookup",
    "HookAnswer",
    "HookError",
    "HookRequest",
    "HookResponse",
    "HookRunner",
    "Hooks",
    "changed_fields",
    "hook_warnings",
    "load_hooks",
]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class HookError(Exception):
    """A hook did what it may not; the message says what, and the remedy."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request as hooks see it: ``url`` is absolute, ``fields`` are by name in lower case and read-only.

    ``body`` are the bytes of its content where a rule has ``hook_request_bytes`` and it has no more than
    that; ``None`` else.
    """

    method: str
    url: str
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)

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
    """A response as hooks see it; ``fields`` as in :class:`HookRequest`.

    ``body`` are the bytes of its content, without a content coding, for ``after_origin`` where a rule has
    ``hook_response_bytes`` and it has no more than that; ``None`` else.
    """

    status: int
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)

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


BeforeLookup: TypeAlias = Callable[[HookRequest], Awaitable[HookRequest | HookAnswer | Reason]]
AfterOrigin: TypeAlias = Callable[[HookRequest, HookResponse], Awaitable[HookResponse | Reason]]
HookRunner: TypeAlias = Callable[[Work], Awaitable[Any]]
"""Runs what an ``async`` hook returned, for as long as hooks may take; raises :class:`LateError`."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks that do something, made safe: none raises, and one that changes nothing returns what it got.

    Of one that failed comes a reason, ``hook-failed`` or ``hook-timeout``. After ``before_lookup`` the
    request then bypasses the cache, since what it should have changed may belong in the key; after
    ``after_origin`` the response isn't stored, since the hook may be what forbids it; after ``before_send``
    it goes out as it is.
    """

    before_lookup: BeforeLookup | None = None
    after_origin: AfterOrigin | None = None
    before_send: AfterOrigin | None = None


def load_hooks(module: object, report: Report, run: HookRunner) -> Hooks:
    """Take the hooks of ``module``; what they raise later goes to ``report``, and ``run`` runs async ones.

    Raises :class:`~origin_sdk_wire.config.ConfigError` for a hook that can't be called as one.
    """
    problems = [*_misspelt(module)]
    found: dict[str, Any] = {}
    for name, (accept, parameters) in _HOOKS.items():
        hook = getattr(module, name, None)
        if problem := _problem(hook, parameters):
            problems.append(f"hooks.{name}: {problem}")
        elif hook is not None and not _does_nothing(hook):
            is_async = hook.__code__.co_flags & _COROUTINE
            found[name] = _Guarded(name, hook, accept, report, run if is_async else None)
    if problems:
        raise ConfigError(tuple(problems))
    return Hooks(**found)


def hook_warnings(hooks: Hooks, settings: Settings) -> Iterator[str]:
    """Say which declarations show a body to nobody."""
    for rule in settings.rules:
        for name, shown, hook in (
            ("hook_request_bytes", rule.hook_request_bytes, hooks.before_lookup and "before_lookup"),
            ("hook_response_bytes", rule.hook_response_bytes, hooks.after_origin and "after_origin"),
        ):
            if shown and not hook:
                yield f"the rule {rule.name!r}: {name} has no effect without the hook that sees it; remove it"


def changed_fields(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a hook did to fields: the new value of each name that it set, ``None`` for what it removed.

    Lines that it left alone, such as several of Set-Cookie, which can't be joined, don't appear.
    """
    changed: dict[str, str | None] = {
        name: value for name, value in after.items() if before.get(name) != value
    }
    return changed | {name: None for name in before if name not in after}


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A hook that never raises: it returns what is accepted of its result, or why it failed."""

    name: str
    hook: Callable[..., Any]
    accept: Callable[..., Any]
    report: Report
    run: HookRunner | None
    """What runs it, if it is ``async``."""

    async def __call__(self, *arguments: Any) -> Any:
        try:
            result = self.hook(*arguments)
            if self.run:
                result = await self.run(result)
            return self.accept(arguments[-1], result)
        except GeneratorExit:
            raise
        except LateError as error:
            self.report(self.name, error)
            return Reason.HOOK_TIMEOUT
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self.report(self.name, error)
        except BaseException as error:  # noqa: BLE001 - and its exit ends no Worker
            self.report(self.name, HookError(f"{type(error).__name__}: {error}"))
        return Reason.HOOK_FAILED


def _accepted_lookup(given: HookRequest, result: object) -> HookRequest | HookAnswer:
    if result is None or result is given:
        return given
    return _accepted_answer(result) if isinstance(result, HookAnswer) else _accepted_request(given, result)


def _accepted_answer(answer: HookAnswer) -> HookAnswer:
    status: object = answer.status
    text: object = answer.text
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise HookError(f"it answered with status {status!r}; give one from 200 to 599")
    if not isinstance(text, str) or (text and answer.status in WITHOUT_CONTENT):
        raise HookError(
            f"it answered {answer.status} with {text!r:.80}; give a str, none for 204, 205 and 304"
        )
    _require_valid(answer.fields)
    return answer


def _accepted_request(given: HookRequest, result: object) -> HookRequest:
    if not isinstance(result, HookRequest):
        raise HookError(f"it returned {result!r}; return a HookRequest, a HookAnswer, or None for no change")
    if result.method != given.method:
        raise HookError(f"it changed the method to {result.method!r}; the method stays as it came")
    _require_same_body(given, result)
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
    _require_same_body(given, result)
    _require_valid(changed_fields(given.fields, result.fields))
    return result


def _require_same_body(given: HookRequest | HookResponse, result: HookRequest | HookResponse) -> None:
    if result.body is not None and result.body != given.body:
        raise HookError("it changed the body; the body stays as it came")


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
        if isinstance(value, FunctionType) and name not in _HOOKS and (near := nearest(name, _HOOKS)):
            yield f"hooks.{name}: isn't a hook; did you mean {near}? If it is a helper of yours, rename it"


def _problem(hook: object, parameters: str) -> str:
    if hook is None:
        return ""
    if not isinstance(hook, FunctionType):
        return f"is {hook!r}; write a function of ({parameters})"
    if hook.__code__.co_flags & _GENERATOR:
        return "is a generator, and a hook returns one value; write return in place of yield"
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
# inspect's flags of *arguments, of coroutines, and of generators of both kinds, without the import.
_VARIADIC = 0x04
_COROUTINE = 0x80
_GENERATOR = 0x200 | 0x20
_HOOKS: Mapping[str, tuple[Callable[..., object], str]] = {
    "before_lookup": (_accepted_lookup, "request"),
    "after_origin": (_accepted_response, "request, response"),
    "before_send": (_accepted_response, "request, response"),
}
