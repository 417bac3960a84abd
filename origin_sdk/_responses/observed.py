"""What was read of a request, and where: it decides for whom the response may be.

The frameworks' modules note here each field, session, user and address as it is looked up, whether or not
it was there: what a response makes of an absent cookie isn't for those who have one. What the framework reads
on its own account doesn't count; what anybody else reads does, in a handler, a dependency, a template or a
middleware. This module imports no framework.
"""

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from inspect import unwrap
from types import FrameType
from typing import Any, Final

from origin_sdk._process.reads import Reads, current_reads
from origin_sdk._values.errors import NotCacheable

__all__ = [
    "ADDRESS",
    "EVERYTHING",
    "OBSERVERS",
    "SESSION",
    "USER",
    "Declared",
    "Observed",
    "Reading",
    "is_unobserved",
    "observe_session",
    "unobserved",
]

ADDRESS: Final = "the client's address"
EVERYTHING: Final = "every field of the request"
SESSION: Final = "the session"
USER: Final = "the user"

OBSERVERS: Final = (
    # They watch requests.
    *(
        "asgi_correlation_id",
        "ddtrace",
        "debug_toolbar",
        "django_guid",
        "django_prometheus",
        "elasticapm",
        "newrelic",
        "opentelemetry",
    ),
    *("prometheus_fastapi_instrumentator", "sentry_sdk", "starlette_exporter", "structlog"),
    "slowapi.middleware",  # whatever stands around it asks nothing
    # They set Vary themselves.
    *("corsheaders", "flask_compress", "flask_cors", "whitenoise"),
)
"""Packages whose reading of a request says nothing about the response."""

_KEYED = frozenset(
    # In the key, or set by the Worker and its runtime for all; what changes no representation in HTTP.
    {"accept-encoding", "host", "x-forwarded-host", "x-forwarded-proto"}
    | {"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"}
    | {"cache-control", "pragma", "cdn-loop", "connection", "content-length", "te", "transfer-encoding"}
    | {"upgrade", "via"}
)
_PLUMBING = (
    # They hand on what somebody else asked them for.
    *("collections.abc", "_collections_abc", "http.cookies", "origin_sdk"),
    *("starlette.datastructures", "starlette.requests"),
    *("django.http.request", "django.utils.datastructures", "django.utils.functional"),
    *("rest_framework.request", "flask.globals", "flask.wrappers", "werkzeug"),
    # They refuse requests of the framework with an error that isn't stored; and tell a handler who asks.
    *("django_ratelimit", "flask_limiter", "slowapi.extension", "slowapi.util", "slowapi.wrappers"),
)
_INSTALLED = ("site-packages", "dist-packages", "<frozen", sysconfig.get_path("stdlib"))

_is_unobserved: ContextVar[bool] = ContextVar("origin_sdk_unobserved", default=False)


@contextmanager
def unobserved() -> Iterator[None]:
    """Read of a request, in the ``with`` block, what the response doesn't depend on."""
    token = _is_unobserved.set(True)
    try:
        yield
    finally:
        _is_unobserved.reset(token)


class _Modules(dict[str, bool]):
    """Whether a module, by its name, lies in one of some packages."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        super().__init__()
        self._packages = packages

    def __missing__(self, module: str) -> bool:
        is_below = any(module == package or module.startswith(f"{package}.") for package in self._packages)
        if len(self) < _MOST_MODULES:
            self[module] = is_below
        return is_below


_MOST_MODULES: Final = 4096
_modules = lru_cache(_Modules)
_MODULES_OF_PLUMBING: Final = _modules(_PLUMBING)


def _is_below(module: str, packages: tuple[str, ...]) -> bool:
    return _modules(packages)[module]


@lru_cache(maxsize=4096)
def _is_installed(path: str) -> bool:
    return any(part in path for part in _INSTALLED)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: a field by its name in lower case, or one of the constants above; by whom, and where."""

    what: str
    module: str
    place: str

    def __str__(self) -> str:
        name = self.what.title() if self.is_field else self.what
        return f"{name} was read at {self.place}"

    @property
    def is_field(self) -> bool:
        """Whether Vary can name it."""
        return " " not in self.what and "[" not in self.what


@dataclass(frozen=True, slots=True)
class Declared:
    """What a response says of its request: the fields in Vary, or that it is the same for everyone."""

    vary: frozenset[str] = frozenset()
    for_everyone: bool = False
    observers: tuple[str, ...] = OBSERVERS

    def covers(self, reading: Reading) -> bool:
        """Whether the response may be shared in spite of the reading."""
        is_named = reading.is_field and reading.what in self.vary
        return self.for_everyone or is_named or _is_below(reading.module, self.observers)


class Observed:
    """What was read of one request.

    ``framework`` are the packages that read on their own account; ``endpoint`` finds who handles the request.
    """

    __slots__ = (
        *("_accounted", "_decided", "_endpoint", "_framework", "_is_on_its_way", "_readings", "_sent"),
        *("broken", "cut", "decide", "left_outside"),
    )

    def __init__(self, framework: tuple[str, ...], endpoint: Callable[[], Any] = lambda: None) -> None:
        self._framework = _modules(framework)
        self._endpoint = endpoint
        self._readings: dict[tuple[str, str], Reading] = {}
        self._sent: tuple[str, Declared, Reads] | None = None
        self._accounted = Declared()
        self._is_on_its_way = False
        self._decided = 0
        self.left_outside: frozenset[str] | None = None
        """What stood in the scope before it was observed, of what no server puts there."""
        self.decide: Callable[..., Any] | None = None
        """What decides on the response, again if something is read after it did."""
        self.broken: Exception | None = None
        """Why a body broke off that streams to the edge for everyone."""
        self.cut: Exception | None = None
        """Why a body broke off within the framework, whatever stands between ends it as if it were whole."""

    def note(self, what: str, through: tuple[str, ...] = ()) -> None:
        """Note that something was looked up, by whoever called this through the framework.

        ``through`` are further packages that hand on what somebody else asked them for.

        Raises :class:`NotCacheable`, so that the body is cut off, where it is read while a body is made that
        is on its way to the edge for everyone.
        """
        if what in _KEYED or _is_unobserved.get():
            return
        plumbing = _modules(_PLUMBING + through) if through else _MODULES_OF_PLUMBING
        reader = _reader(sys._getframe(1), plumbing)  # noqa: SLF001 - the interpreter's documented way
        module = _module(reader)
        if self._framework[module]:
            return
        key = (what, module)
        if key not in self._readings:
            self._readings[key] = Reading(what, module, self._place(reader))
        if self._sent and self._is_on_its_way and current_reads() is self._sent[2]:
            self._refuse(self._readings[key], *self._sent[:2])

    @property
    def has_readings(self) -> bool:
        """Whether anything was read."""
        return bool(self._readings)

    def undeclared(self, declared: Declared) -> list[Reading]:
        """Return what was read and isn't covered by what the response says."""
        readings = list(self._readings.values())  # a thread that is left behind may add to them
        return [each for each in readings if not (declared.covers(each) or self._accounted.covers(each))]

    @property
    def is_undecided(self) -> bool:
        """Whether something was read since the response was decided on."""
        return len(self._readings) > self._decided

    def decided(self) -> None:
        """Note that the response was decided on, by what has been read so far."""
        self._decided = len(self._readings)

    def account(self, declared: Declared) -> None:
        """Note what was declared, for a middleware further out that doesn't know of it."""
        self._accounted = declared

    def sent(self, route: str, declared: Declared, reads: Reads) -> None:
        """Refuse what isn't covered once the fields are on their way, where ``reads`` are noted."""
        self._sent = (route, declared, reads)

    def depart(self) -> None:
        """Note that the fields are on their way: no middleware can change them."""
        self._is_on_its_way = True

    def check(self) -> None:
        """Raise what :meth:`note` couldn't, where something is read outside of the response's context.

        That is a thread of the handler's own. And raise what cut the body off, in place of an end.
        """
        if self.cut:
            raise self.cut
        if self._sent and self._is_on_its_way and self.is_undecided:
            route, declared, _ = self._sent
            for reading in list(self._readings.values())[self._decided :]:
                self._refuse(reading, route, declared)
            self.decided()

    def break_off(self, error: Exception) -> None:
        """Note that the response failed: what comes after a part of its body can't be the rest."""
        if self._sent:
            self.broken = error

    def over(self) -> None:
        """Allow everything again: what runs behind a response may read anything."""
        self._sent = None

    @staticmethod
    def _refuse(reading: Reading, route: str, declared: Declared) -> None:
        if not declared.covers(reading):
            raise NotCacheable(
                f"{route}, which streams to the edge for everyone, is cut off: {reading}; read it before the "
                "first part, or don't let the response be cached"
            )

    def _place(self, reader: FrameType | None) -> str:
        """Return the line that asked for it; where the framework called a package, that and the handler."""
        frame = reader
        while frame and not self._framework[_module(frame)]:
            if not (_is_installed(frame.f_code.co_filename) or _is_below(_module(frame), ("origin_sdk",))):
                return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
            frame = frame.f_back
        by = f"{_module(reader)}:{reader.f_lineno}" if reader else "a thread of the framework"
        handler = _place_of(self._endpoint())
        return f"{handler}, by {by}" if handler else by


def _reader(frame: FrameType | None, plumbing: _Modules) -> FrameType | None:
    while frame and plumbing[str(frame.f_globals.get("__name__", ""))]:  # not by _module(): it is asked often
        frame = frame.f_back
    return frame


def is_unobserved(observers: tuple[str, ...]) -> bool:
    """Whether what the caller is asked for doesn't count: for a log, or by one of some packages."""
    reader = _reader(sys._getframe(1), _MODULES_OF_PLUMBING)  # noqa: SLF001 - the interpreter's documented way
    return _is_unobserved.get() or _is_below(_module(reader), observers)


def _module(frame: FrameType | None) -> str:
    return str(frame.f_globals.get("__name__", "")) if frame else ""


def _place_of(endpoint: Any) -> str:
    """Return where a handler is; empty where a package has wrapped it in a function of its own."""
    if endpoint is None:
        return ""
    function = unwrap(endpoint)
    if code := getattr(function, "__code__", None):
        if _is_installed(code.co_filename):
            return ""
        return f"{code.co_filename}:{code.co_firstlineno}, in a parameter or decorator of {code.co_name}"
    return (
        f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    )


class _ObservedSession:
    """Mixed into a session's class, of Django or Flask: both set ``accessed`` whenever they are used."""

    _origin_sdk_note: Callable[[], None]

    @property
    def accessed(self) -> bool:
        """Whether the session was used."""
        return bool(self.__dict__.get("accessed"))

    @accessed.setter
    def accessed(self, is_accessed: bool) -> None:
        self.__dict__["accessed"] = is_accessed
        if is_accessed:
            self._origin_sdk_note()


_UNSAID = (
    # By which a session is known to the server, or known to be one.
    *("session_key", "is_empty", "permanent", "new"),
    # A session that is a dict says of none of these that it is used, in Flask before 3.1.3.
    *("__contains__", "__eq__", "__getitem__", "__iter__", "__len__", "__or__", "__repr__", "__reversed__"),
    *("__ror__", "copy", "get", "items", "keys", "pop", "popitem", "setdefault", "values"),
)
"""What tells of a session, and need not set ``accessed``."""


def _observed_attribute(kind: Any, name: str) -> Any:
    attribute = getattr(kind, name)

    if isinstance(attribute, property):

        def read(self: Any) -> Any:
            self._origin_sdk_note()
            return attribute.__get__(self)

        return property(read, attribute.fset)

    @wraps(attribute)
    def call(self: Any, *arguments: Any) -> Any:
        self._origin_sdk_note()
        return attribute(self, *arguments)

    return call


@lru_cache
def _observed_session_class(kind: Any) -> Any:
    names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    for name in _UNSAID:
        if callable(getattr(kind, name, None)) or isinstance(getattr(kind, name, None), property):
            names[name] = _observed_attribute(kind, name)
    return type(kind.__name__, (_ObservedSession, kind), names)


def observe_session(session: Any, observed: Observed, through: tuple[str, ...]) -> bool:
    """Let a session note each time that it is used; return False if it is of a kind that can't."""
    if isinstance(session, _ObservedSession):
        return True
    if "accessed" not in dir(session):
        return False
    kind: Any = type(session)
    try:
        session.__class__ = _observed_session_class(kind)
    except TypeError:
        return False
    session._origin_sdk_note = lambda: observed.note(SESSION, through)  # noqa: SLF001 - of the class just given
    return True
