"""For Django, synchronous and asynchronous.

    MIDDLEWARE = ["origin_sdk.django.CacheFields", ...]     # first, so that it sees what the others add

``settings.DEBUG`` makes it strict, unless ``ORIGIN_SDK_STRICT`` says otherwise.
"""

from collections.abc import Awaitable, Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from origin_sdk.freshness import combined
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
)
from origin_sdk.streaming import watched, watched_async

__all__ = ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]

GetResponse: TypeAlias = Callable[[Any], Any]


def _is_strict() -> bool:
    from django.conf import settings  # noqa: PLC0415 - read when first asked

    return bool(getattr(settings, "ORIGIN_SDK_STRICT", settings.DEBUG))


class CacheFields:
    """Django middleware that sets the fields."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._strict = _is_strict()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            from asgiref.sync import markcoroutinefunction  # noqa: PLC0415 - Django's own dependency

            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Pass the request on and finish its response."""
        if self._is_async:
            return self._answer(request)
        with drafting() as draft:
            response = self._get_response(request)
            return _finished(draft, request, response, strict=self._strict)

    async def _answer(self, request: Any) -> Any:
        with drafting() as draft:
            answering: Awaitable[Any] = self._get_response(request)
            return _finished(draft, request, await answering, strict=self._strict)


def _finished(draft: Draft, request: Any, response: Any, *, strict: bool) -> Any:
    finished = finish(draft, _exchanged(request, response), strict=strict)
    if finished.not_modified:
        response.status_code = 304
        response.content = b""
        for name in [name for name in response.headers if not Finished.kept_by_304(name)]:
            del response.headers[name]
    for name, value in finished.fields.items():
        response.headers[name] = value
    if draft.reads.shared_as and getattr(response, "file_to_stream", None) is None:
        watch = watched_async if response.is_async else watched
        response.streaming_content = watch(response.streaming_content, draft.reads)
    return response


def _exchanged(request: Any, response: Any) -> Exchanged:
    session = getattr(request, "session", None)
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
