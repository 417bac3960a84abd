"""The host and the scheme that clients ask the Worker for, for ASGI applications.

    app.add_middleware(ForwardedHost)

The Worker asks the origin by its own address, and sends what the client asked for in X-Forwarded-Host and
X-Forwarded-Proto. Servers take the scheme from there (``uvicorn --proxy-headers``), but not the host. Use it
where none but the Worker, or a proxy that sets both fields, reaches the application.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["ForwardedHost"]

App: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
_SCHEMES = {
    b"http": {"http": "http", "https": "http", "ws": "ws", "wss": "ws"},
    b"https": {"http": "https", "https": "https", "ws": "wss", "wss": "wss"},
}
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")


class ForwardedHost:
    """ASGI middleware: absolute URLs, redirects and cookies are made for the host that clients know."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass the request on as its client made it."""
        await self._app(_as_asked(scope) if "headers" in scope else scope, receive, send)


def _as_asked(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    host, scheme = (_only(scope, name) for name in (b"x-forwarded-host", b"x-forwarded-proto"))
    if _HOST.fullmatch(host):
        # Names stay the objects that they are: what is looked up is noted by them.
        fields = [(name, host if name == b"host" else value) for name, value in scope["headers"]]
        has_host = any(name == b"host" for name, _ in fields)
        scope["headers"] = fields if has_host else [*fields, (b"host", host)]
    if scheme in _SCHEMES:
        scope["scheme"] = _SCHEMES[scheme][scope.get("scheme", "http")]
    return scope


def _only(scope: MutableMapping[str, Any], wanted: bytes) -> bytes:
    """Return the value of a field that was sent once, with one member; empty for anything else."""
    values = [value.strip() for name, value in scope["headers"] if name == wanted]
    return values[0] if len(values) == 1 and b"," not in values[0] else b""
