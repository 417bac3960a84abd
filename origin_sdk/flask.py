"""For Flask.

    CacheFields(app)            # or CacheFields().init_app(app)

``app.debug`` makes it strict, unless ``ORIGIN_SDK_STRICT`` in the configuration says otherwise.
``ORIGIN_SDK_OBSERVERS`` names packages, beside the well-known ones, whose reading of a request says nothing
about the response.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final, cast

from flask import Flask, Request, Response, current_app, g, has_request_context, request
from flask.globals import request_ctx

from origin_sdk._responses.observed import (
    ADDRESS,
    EVERYTHING,
    OBSERVERS,
    Observed,
    observe_session,
    unobserved,
)
from origin_sdk._responses.observed_environ import ObservedEnviron
from origin_sdk._responses.streams import watched
from origin_sdk._values.header_fields import combined
from origin_sdk.responses import (
    Draft,
    Exchanged,
    Finished,
    add_groups,
    belongs_to_user,
    cache_for,
    drafting,
    finish,
    invalidate,
    revise,
)

__all__ = ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]

_OPEN = "_origin_sdk_open"
_SEES_SESSION = "_origin_sdk_sees_session"
_DRAFT = "_origin_sdk_draft"
_FRAMEWORK: Final = (
    "flask.app",
    "flask.ctx",
    "flask.sansio",
    "flask.sessions",
    "flask.testing",
    "flask_session",
)
_SESSIONS: Final = ("flask.ctx", "flask.sessions", "flask_session")


class CacheFields:
    """Flask extension that sets the fields."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Register with an application; before other extensions, so that it sees what they add."""
        app.request_class = _observed_class(app.request_class)
        app.before_request(_begin)
        app.after_request(_end)
        app.process_response = _revising(app.process_response)  # type: ignore[assignment, method-assign]  # of this application
        app.teardown_request(_close)


def _begin() -> None:
    stack = ExitStack()
    setattr(g, _DRAFT, stack.enter_context(drafting(_observed(), strict=_is_strict())))
    setattr(g, _OPEN, stack)
    setattr(g, _SEES_SESSION, observe_session(_opened_session(), _observed(), _SESSIONS))


def _close(_: BaseException | None) -> None:
    stack: ExitStack | None = g.pop(_OPEN, None)
    if stack:
        stack.close()


def _end(response: Response) -> Response:
    draft: Draft | None = getattr(g, _DRAFT, None)
    if draft is None or draft.is_empty:  # an earlier before_request answered, or there is nothing to say
        return response
    with unobserved():
        exchanged = _exchanged(response)
    finished = finish(draft, exchanged, strict=_is_strict(), observers=_observers())
    session = _opened_session()
    if draft.lifetimes and draft.lifetimes.for_everyone and not getattr(session, "modified", True):
        session.accessed = False  # Flask would name the cookie in Vary after us
    if finished.not_modified:
        response.status_code = 304
        response.set_data(b"")
        for name in [name for name in response.headers.keys() if not Finished.kept_by_304(name)]:  # noqa: SIM118 - werkzeug's
            del response.headers[name]
    finished.set_on(response.headers)
    if draft.reads.shared_as and not response.direct_passthrough:
        parts = watched(response.response, draft.reads, draft.observed)
        response.response = cast("Iterable[bytes]", parts)
    return response


def _revising(process: Callable[[Response], Response]) -> Callable[[Response], Response]:
    """Decide again on a response if what other extensions do to it, once _end has, reads something."""

    def process_response(response: Response) -> Response:
        processed = process(response)
        draft: Draft | None = g.get(_DRAFT)
        if draft and draft.observed.is_undecided:
            with unobserved():
                exchanged = _exchanged(processed)
            revised = revise(draft, exchanged, strict=_is_strict(), observers=_observers())
            revised.set_on(processed.headers)
        return processed

    return process_response


def _observers() -> tuple[str, ...]:
    return (*OBSERVERS, *current_app.config.get("ORIGIN_SDK_OBSERVERS", ()))


def _is_strict() -> bool:
    return bool(current_app.config.get("ORIGIN_SDK_STRICT", current_app.debug))


def _exchanged(response: Response) -> Exchanged:
    is_whole = not response.is_streamed and not response.direct_passthrough
    return Exchanged(
        method=request.method,
        request=combined(tuple(request.headers.items())),
        status=response.status_code,
        response=combined(tuple(response.headers.items())),
        body=response.get_data() if is_whole else None,
        sets_cookies=_refreshes_session(),
        uses_session=_uses_session(),
        route=f"{request.method} {request.url_rule or request.path}",
    )


def _uses_session() -> bool:
    return not g.get(_SEES_SESSION) and bool(getattr(_opened_session(), "accessed", False))


def _refreshes_session() -> bool:
    """Whether Flask sets the cookie of a session that lasts, after us and whether or not it was used."""
    session = _opened_session()
    is_permanent = isinstance(session, dict) and dict.get(session, "_permanent", False)
    # Flask-Session's is permanent from the start, and false while nothing else is in it.
    return bool(is_permanent and session and current_app.config["SESSION_REFRESH_EACH_REQUEST"])


def _opened_session() -> Any:
    # Looking at `flask.session` counts as using it; the context keeps it under one of these names.
    context = vars(request_ctx._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - documented
    return context.get("_session", context.get("session"))


class _ObservedRequest:
    """Mixed into a request's class: notes what is looked up, also where the class keeps what it has found."""

    def __init__(self, environ: dict[str, Any], *arguments: Any, **named: Any) -> None:
        observed = Observed(_FRAMEWORK, _endpoint)
        self.origin_sdk_observed = observed
        super().__init__(ObservedEnviron(environ, observed), *arguments, **named)  # type: ignore[call-arg]  # a request's

    @property
    def cookies(self) -> Any:
        """Return the cookies, which Flask itself reads for its session."""
        self.origin_sdk_observed.note("cookie")
        with unobserved():
            return super().cookies  # type: ignore[misc]  # a request's

    @property
    def remote_addr(self) -> Any:
        """Return the client's address."""
        self.origin_sdk_observed.note(ADDRESS)
        return self._remote_addr

    @remote_addr.setter
    def remote_addr(self, address: Any) -> None:
        self._remote_addr = address


def _endpoint() -> Any:
    return current_app.view_functions.get(request.endpoint or "") if has_request_context() else None


def _observed_class(kind: type[Request]) -> type[Request]:
    if issubclass(kind, _ObservedRequest):
        return kind
    return cast(
        "type[Request]", type(kind.__name__, (_ObservedRequest, kind), {"__module__": kind.__module__})
    )


def _observed() -> Observed:
    observed: Observed | None = getattr(request, "origin_sdk_observed", None)
    if observed is None:  # `request_class` was set after CacheFields: nothing of this request was seen
        observed = Observed(())
        observed.note(EVERYTHING)
    return observed
