"""For Flask.

    CacheFields(app)            # or CacheFields().init_app(app)

``app.debug`` makes it strict, unless ``ORIGIN_SDK_STRICT`` in the configuration says otherwise.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import cast

from flask import Flask, Response, current_app, g, request
from flask.globals import request_ctx

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
from origin_sdk.streaming import watched

__all__ = ["CacheFields", "add_groups", "belongs_to_user", "cache_for", "invalidate"]

_OPEN = "_origin_sdk_open"
_DRAFT = "_origin_sdk_draft"


class CacheFields:
    """Flask extension that sets the fields."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Register with an application; before other extensions, so that it sees what they add."""
        app.before_request(_begin)
        app.after_request(_end)
        app.teardown_request(_close)


def _begin() -> None:
    stack = ExitStack()
    setattr(g, _DRAFT, stack.enter_context(drafting()))
    setattr(g, _OPEN, stack)


def _close(_: BaseException | None) -> None:
    stack: ExitStack | None = g.pop(_OPEN, None)
    if stack:
        stack.close()


def _end(response: Response) -> Response:
    draft: Draft | None = getattr(g, _DRAFT, None)
    if draft is None:  # an earlier before_request answered
        return response
    finished = finish(draft, _exchanged(response), strict=_is_strict())
    if finished.not_modified:
        response.status_code = 304
        response.set_data(b"")
        for name in [name for name in response.headers.keys() if not Finished.kept_by_304(name)]:  # noqa: SIM118 - werkzeug's
            del response.headers[name]
    for name, value in finished.fields.items():
        response.headers[name] = value
    if draft.reads.shared_as and not response.direct_passthrough:
        response.response = cast("Iterable[bytes]", watched(response.response, draft.reads))
    return response


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
        uses_session=_uses_session(),
        route=f"{request.method} {request.url_rule or request.path}",
    )


def _uses_session() -> bool:
    # Looking at `flask.session` counts as using it; the context keeps it under one of these names.
    context = vars(request_ctx._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - documented
    opened = context.get("_session", context.get("session"))
    return bool(getattr(opened, "accessed", False))
