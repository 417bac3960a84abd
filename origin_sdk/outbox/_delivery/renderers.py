"""How a drainer comes by the new response of a URL that is to be published rather than purged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from origin_sdk._cloudflare.connections import tls
from origin_sdk._edge.options import Rendered
from origin_sdk._process.reads import made_to_publish
from origin_sdk._values.errors import InvalidRequest, InvalidSettings, NotCacheable, OriginSdkError
from origin_sdk.outbox._stores.entries import Republish

__all__ = ["OriginRenderer", "Renderer", "Renderers", "Rendition"]

_RENDER_SECONDS = 30.0


@dataclass(frozen=True)
class Rendition:
    """A response to publish. ``headers`` say for how long, as those of the service's own response do."""

    body: Rendered
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    groups: tuple[str, ...] = ()


Renderer = Callable[..., Rendition]
"""Takes a republication's ``arguments`` by name, reads the data as it is now, and returns the response."""


class CanRender(Protocol):
    """What renders a republication, or raises."""

    def __call__(self, republish: Republish, /) -> Rendition:
        """Return the response as it is now; raises any error if it can't."""
        ...


class OriginRenderer:
    """Asks the origin itself, past the edge, for the response."""

    def __init__(self, origin: str, transport: httpx.BaseTransport | None = None) -> None:
        """Ask ``origin``, such as ``http://127.0.0.1:8000``, for the path and query of each URL.

        Raises :class:`InvalidSettings` for what isn't such a URL.
        """
        try:
            is_origin = httpx.URL(origin).scheme in {"http", "https"} and bool(httpx.URL(origin).host)
        except httpx.InvalidURL:
            is_origin = False
        if not is_origin:
            raise InvalidSettings(f"{origin!r} isn't the URL of an origin: write http://127.0.0.1:8000")
        self._client = httpx.Client(
            base_url=origin, transport=transport, timeout=_RENDER_SECONDS, verify=tls()
        )

    def __call__(self, republish: Republish) -> Rendition:
        """Fetch it; raises :class:`NotCacheable` for a failure of the origin."""
        parts = urlsplit(republish.url)
        if parts.path.startswith("//"):
            raise InvalidRequest(
                f"{republish.url}: its path would name another host; purge it, or give a renderer"
            )
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        fields = {"host": parts.netloc, "accept-encoding": "identity"}
        try:
            response = self._client.get(target, headers=fields)
        except httpx.HTTPError as error:
            raise NotCacheable(f"the origin can't be asked for {republish.url}: {error!r}") from error
        if response.status_code >= 500:
            raise NotCacheable(f"the origin answered {response.status_code} for {republish.url}")
        return Rendition(response.content, dict(response.headers), response.status_code)


class Renderers:
    """Renderers by name, and one for the rest.

    ::

        renderers = Renderers()

        @renderers.register("product-page")
        def product_page(product_id: int) -> Rendition: ...
    """

    def __init__(self, default: CanRender | None = None) -> None:
        """Use ``default``, such as an :class:`OriginRenderer`, where no renderer has the name."""
        self._default = default
        self._by_name: dict[str, Renderer] = {}

    def register(self, name: str) -> Callable[[Renderer], Renderer]:
        """Let a function render the republications that name it."""

        def add(renderer: Renderer) -> Renderer:
            self._by_name[name] = renderer
            return renderer

        return add

    def __call__(self, republish: Republish) -> Rendition:
        """Render, with the groups of what a renderer read from layered caches.

        Raises :class:`NotCacheable` if nothing can, or what can has failed or has read what must not reach
        the edge.
        """
        renderer = self._by_name.get(republish.renderer)
        try:
            if renderer:
                with made_to_publish(republish.url) as reads:
                    made = renderer(**republish.arguments)
                return replace(made, groups=(*made.groups, *reads.groups))
            if self._default:
                return self._default(republish)
        except OriginSdkError:
            raise
        except Exception as error:
            raise NotCacheable(f"the renderer {republish.renderer!r} failed: {error!r}") from error
        raise NotCacheable(
            f"this drainer has no renderer {republish.renderer!r}: give it Renderers, or the origin's URL"
        )
