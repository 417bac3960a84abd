"""Wiring: context, middleware, routes and refusals become one ASGI app."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.catalogue import errors
from examples.catalogue.context import Context
from examples.catalogue.faults import FaultInjection, FaultSwitch, fault_routes
from examples.catalogue.routes import accounts, categories, products, service
from origin_sdk.asgi import CacheFields


class HeadAnswering:
    """ASGI middleware that answers HEAD as GET without the content (RFC 9110 section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a HEAD on as GET, and keep the content of its response back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        await self._app(dict(scope) | {"method": "GET"}, receive, send_without_content)


def create_app(context: Context) -> FastAPI:
    """Return the API over the context's database, with all faults off."""
    # A redirect for a trailing slash would name this host, which clients of the edge can't reach.
    app = FastAPI(title="Product catalogue", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    switch = FaultSwitch()
    app.add_middleware(FaultInjection, switch=switch, sleep=context.sleep)
    app.add_middleware(CacheFields, strict=True)
    app.add_middleware(HeadAnswering)
    for module in (products, categories, accounts, service):
        app.include_router(module.router)
    app.include_router(fault_routes(switch))
    errors.install(app)
    return app
