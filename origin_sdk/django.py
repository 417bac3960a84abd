"""For Django, synchronous and asynchronous.

    MIDDLEWARE = ["origin_sdk.django.CacheFields", ...]     # first, so that it sees what the others add

``settings.DEBUG`` makes it strict, unless ``ORIGIN_SDK_STRICT`` says otherwise. ``ORIGIN_SDK_OBSERVERS``
names packages, beside the well-known ones, whose reading of a request says nothing about the response.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache, partial, wraps
from inspect import iscoroutinefunction
from typing import Any, Final, TypeAlias

from origin_sdk._responses.observed import (
    EVERYTHING,
    OBSERVERS,
    USER,
    Observed,
    is_unobserved,
    observe_session,
    unobserved,
)
from origin_sdk._responses.observed_environ import ObservedEnviron
from origin_sdk._responses.observed_scope import ObservedScope
from origin_sdk._responses.streams import watched, watched_async
from origin_sdk._values.errors import NotCacheable
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

GetResponse: TypeAlias = Callable[[Any], Any]


_FRAMEWORK: Final = (
    # What they read themselves is for HTTP, or is kept where a view has to look it up again.
    *("django.core.handlers", "django.middleware", "django.test", "django.utils.cache"),
    "django.contrib.sessions.middleware",
    "django.template.context_processors",  # the address, in development
    # It sets Vary where there is something to choose from; and refuses with an error.
    *("rest_framework.negotiation", "rest_framework.throttling"),
)
_SESSIONS: Final = ("django.contrib.sessions.backends", "asgiref.sync", "concurrent.futures")


def _setting(name: str, default: Any) -> Any:
    from django.conf import settings  # noqa: PLC0415 - read when first asked

    return getattr(settings, name, default(settings))


def _observers() -> tuple[str, ...]:
    return (*OBSERVERS, *_setting("ORIGIN_SDK_OBSERVERS", lambda _: ()))


class CacheFields:
    """Django middleware that sets the fields."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._strict = bool(_setting("ORIGIN_SDK_STRICT", lambda settings: settings.DEBUG))
        self._observers = _observers()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            from asgiref.sync import markcoroutinefunction  # noqa: PLC0415 - Django's own dependency

            markcoroutinefunction(self)
        _observe_handlers()

    def __call__(self, request: Any) -> Any:
        """Pass the request on and finish its response."""
        if self._is_async:
            return self._answer(request)
        with drafting(_observed(request), strict=self._strict) as draft:
            return self._finished(draft, request, self._get_response(request))

    async def _answer(self, request: Any) -> Any:
        with drafting(_observed(request), strict=self._strict) as draft:
            answering: Awaitable[Any] = self._get_response(request)
            return self._finished(draft, request, await answering)

    def _finished(self, draft: Draft, request: Any, response: Any) -> Any:
        draft.observed.decide = partial(self._revise, draft, request)
        if draft.is_empty:
            return response
        with unobserved():
            exchanged = _exchanged(request, response)
            if draft.lifetimes and request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
                draft.owner = draft.owner or "it has a CSRF token, which is its client's own"
        finished = finish(draft, exchanged, strict=self._strict, observers=self._observers)
        return _changed(draft, response, finished)

    def _revise(self, draft: Draft, request: Any, response: Any) -> None:
        with unobserved():
            exchanged = _exchanged(request, response)
        revised = revise(draft, exchanged, strict=self._strict, observers=self._observers)
        revised.set_on(response.headers)


def _changed(draft: Draft, response: Any, finished: Finished) -> Any:
    if finished.not_modified:
        response.status_code = 304
        response.content = b""
        for name in [name for name in response.headers if not Finished.kept_by_304(name)]:
            del response.headers[name]
    finished.set_on(response.headers)
    if draft.reads.shared_as and getattr(response, "file_to_stream", None) is None:
        watch = watched_async if response.is_async else watched
        response.streaming_content = watch(response.streaming_content, draft.reads, draft.observed)
    return response


def _exchanged(request: Any, response: Any) -> Exchanged:
    session = None if request.__dict__.get("_origin_sdk_sees_session") else getattr(request, "session", None)
    return Exchanged(
        method=request.method,
        request=_lower(request.headers),
        status=response.status_code,
        response=_lower(response.headers),
        body=None if response.streaming else response.content,
        sets_cookies=bool(response.cookies),
        uses_session=bool(getattr(session, "accessed", False)),
        route=f"{request.method} /{request.resolver_match.route if request.resolver_match else ''}",
    )


def _lower(fields: Mapping[str, str]) -> dict[str, str]:
    return combined(tuple(fields.items()))


@cache
def _observe_handlers() -> None:
    """Observe from where an application begins, so that it doesn't matter what stands above CacheFields."""
    # Django is there when it calls us.
    from django.core.handlers.base import BaseHandler  # noqa: PLC0415
    from django.core.handlers.exception import response_for_exception  # noqa: PLC0415

    call, call_async = BaseHandler.get_response, BaseHandler.get_response_async

    def decided(request: Any, response: Any) -> Any:
        observed = _observed(request)
        try:
            if observed.decide and observed.is_undecided:
                observed.decide(response)
        except NotCacheable as error:
            return response_for_exception(request, error)
        return response

    @wraps(call)
    def get_response(self: Any, request: Any) -> Any:
        _observed(request)
        return decided(request, call(self, request))

    @wraps(call_async)
    async def get_response_async(self: Any, request: Any) -> Any:
        _observed(request)
        return decided(request, await call_async(self, request))

    BaseHandler.get_response, BaseHandler.get_response_async = get_response, get_response_async


def _observed(request: Any) -> Observed:
    """Let a request note what is read of it from here on."""
    known: Observed | None = request.__dict__.get("_origin_sdk_observed")
    if known is not None:
        return known
    observed = Observed(_FRAMEWORK, lambda: getattr(request.resolver_match, "func", None))
    environ = ObservedEnviron(request.META, observed)
    request.__dict__ |= {"_origin_sdk_observed": observed, "META": environ}
    if "environ" in request.__dict__:
        request.environ = environ
    if "scope" in request.__dict__:
        request.scope = ObservedScope(request.scope, observed)
    kind: Any = type(request)
    request.__class__ = _observed_class(kind)
    return observed


@cache
def _observed_headers() -> Any:
    from django.http.request import HttpHeaders  # noqa: PLC0415 - Django is there when it calls us

    class ObservedHeaders(HttpHeaders):  # type: ignore[misc]  # Django has no types
        """Fields that note which are looked up."""

        def __init__(self, environ: Any, observed: Observed) -> None:
            self._observed = observed
            with unobserved():
                super().__init__(environ)

        def __getitem__(self, name: str) -> Any:
            self._observed.note(name.lower().replace("_", "-"))
            return super().__getitem__(name)

        def __iter__(self) -> Iterator[str]:
            self._observed.note(EVERYTHING)
            return iter(super().__iter__())

        def __repr__(self) -> str:
            return repr(dict(self.items()))

    return ObservedHeaders


@cache
def _observed_user() -> Any:
    from django.utils.functional import SimpleLazyObject, empty  # noqa: PLC0415 - Django is there when it calls us

    class ObservedUser(SimpleLazyObject):  # type: ignore[misc]  # Django has no types
        """A user who is noted when looked at again, where a log or a tracer has looked before."""

        def __init__(self, find: Callable[[], Any], observed: Observed) -> None:
            # An assignment would look for the user.
            self.__dict__.update(_observed=observed, _is_found_aside=False)
            super().__init__(find)

        def _setup(self) -> None:
            if is_unobserved(_observers()):
                self.__dict__["_is_found_aside"] = True
                with unobserved():
                    super()._setup()
            else:
                super()._setup()

        @property
        def _wrapped(self) -> Any:
            if self.__dict__["_is_found_aside"] and self.__dict__["_wrapped"] is not empty:
                self.__dict__["_observed"].note(USER)
            return self.__dict__["_wrapped"]

    return ObservedUser


def _is_lazy(user: Any) -> bool:
    from django.utils.functional import SimpleLazyObject, empty  # noqa: PLC0415 - Django is there when it calls us

    return type(user) is SimpleLazyObject and user._wrapped is empty  # noqa: SLF001 - else it would be found here


class _KeepsUser:
    """Mixed into a request's class: a user who was looked at for a log is noted when looked at again."""

    _origin_sdk_observed: Observed

    @property
    def user(self) -> Any:
        if "user" not in self.__dict__:
            raise AttributeError("user")
        return self.__dict__["user"]

    @user.setter
    def user(self, user: Any) -> None:
        if _is_lazy(user):
            user = _observed_user()(user.__dict__["_setupfunc"], self._origin_sdk_observed)
        self.__dict__["user"] = user

    @property
    def _acached_user(self) -> Any:
        # What `await request.auser()` found: the session isn't asked again.
        user, is_found_aside = self.__dict__.get("_acached_user", (None, False))
        if user is None:
            raise AttributeError("_acached_user")
        if is_found_aside:
            self._origin_sdk_observed.note(USER, ("django.contrib.auth.middleware",))
        return user

    @_acached_user.setter
    def _acached_user(self, user: Any) -> None:
        self.__dict__["_acached_user"] = user, is_unobserved(())


@cache
def _observed_class(kind: Any) -> Any:
    class ObservedRequest(_KeepsUser, kind):  # type: ignore[misc]  # chosen at run time
        """A request that notes what is looked up: what its own class keeps, it notes each time."""

        @property
        def headers(self) -> Any:
            if "headers" not in self.__dict__:
                self.__dict__["headers"] = _observed_headers()(self.META, self._origin_sdk_observed)
            return self.__dict__["headers"]

        @property
        def content_type(self) -> Any:
            self._origin_sdk_observed.note("content-type")
            return self.__dict__.get("content_type")

        @content_type.setter
        def content_type(self, content_type: Any) -> None:
            self.__dict__["content_type"] = content_type

        @property
        def COOKIES(self) -> Any:  # noqa: N802 - Django's name
            self._origin_sdk_observed.note("cookie")
            with unobserved():
                return self.__dict__["COOKIES"] if "COOKIES" in self.__dict__ else super().COOKIES

        @COOKIES.setter
        def COOKIES(self, cookies: Any) -> None:  # noqa: N802 - Django's name
            self.__dict__["COOKIES"] = cookies

        @property
        def session(self) -> Any:
            if "session" not in self.__dict__:
                raise AttributeError("session")
            return self.__dict__["session"]

        @session.setter
        def session(self, session: Any) -> None:
            self.__dict__["session"] = session
            self.__dict__["_origin_sdk_sees_session"] = observe_session(
                session, self._origin_sdk_observed, _SESSIONS
            )

    ObservedRequest.__name__, ObservedRequest.__qualname__ = kind.__name__, kind.__qualname__
    ObservedRequest.__module__ = kind.__module__
    return ObservedRequest
