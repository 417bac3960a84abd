"""Your own code around the cache. Fill in what you need; a hook without a body costs nothing.

Hooks take and return values that can't be changed in place; ``with_field``, ``without_field`` and
``with_url`` return changed ones. ``None`` means no change. A hook that raises is reported in the log, and the
request goes on: after a failed ``before_lookup`` it bypasses the cache, and after a failed ``after_origin``
the response isn't stored.

One that has to wait is an ``async def``: the request waits with it, ``HOOK_TIMEOUT`` at most.
``request.body`` and ``response.body`` are ``None``, unless a rule has ``hook_request_bytes`` or
``hook_response_bytes``.

At the top level of this file, make no JavaScript objects: Cloudflare saves the memory of a Worker after its
imports, and refuses one that holds any. What is random there, or the time, is the same for all isolates.
"""

from origin_sdk_edge.hooks import HookAnswer, HookRequest, HookResponse

__all__ = ["after_origin", "before_lookup", "before_send"]


def before_lookup(request: HookRequest) -> HookRequest | HookAnswer | None:
    """Change a request before its key is made, or answer it at once.

    Rules, key and origin see what is returned here. It runs for every request, hits included: keep it short.

    Keep some clients out::

        def before_lookup(request):
            if "x-api-key" not in request.fields:
                return HookAnswer(403, '{"error": "no API key"}', {"content-type": "application/json"})

    Serve an old path from a new one, and so from the same stored response::

        def before_lookup(request):
            return request.with_url(request.url.replace("/v1/items/", "/v2/products/"))

    Bring many values of a field down to the few that matter, before a rule puts it into the key::

        def before_lookup(request):
            device = "mobile" if "Mobile" in request.fields.get("user-agent", "") else "desktop"
            return request.with_field("x-device", device)
    """


def after_origin(request: HookRequest, response: HookResponse) -> HookResponse | None:
    """Change the fields of the origin's response before it is decided whether and for how long it is stored.

    The status stays as it is. A validation's 304 comes here too.

    Give a lifetime where the origin gives none::

        def after_origin(request, response):
            if "cache-control" not in response.fields and "/products/" in request.url:
                return response.with_field("cache-control", "public, max-age=300")

    Name the groups of a response, so that one purge reaches all of them::

        def after_origin(request, response):
            shop = request.fields.get("x-shop", "")
            if shop.isalnum():
                return response.with_field("cache-groups", f'"shop-{shop}"')
    """


def before_send(request: HookRequest, response: HookResponse) -> HookResponse | None:
    """Change the fields of what the client gets, from store or origin; what is stored stays as it is.

    Hide what only the origin's side should see, and add what the client needs::

        def before_send(request, response):
            return response.without_field("x-backend").with_field("access-control-allow-origin", "*")
    """
