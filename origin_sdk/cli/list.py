"""`origin-sdk list`."""

from itertools import islice
from typing import Annotated

import typer

from origin_sdk._edge.options import Targets
from origin_sdk._edge.stored_responses import StoredResponse
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.screen import Screen, counted

__all__ = ["list_"]

Urls = Annotated[list[str] | None, typer.Option("--url", help="A URL, with its variants. Repeatable.")]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="A group. Repeatable. Scans everything that is stored.")
]
Prefixes = Annotated[
    list[str] | None, typer.Option("--prefix", help="A URL; everything at or below its path. Repeatable.")
]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="A host. Repeatable.")]


def list_(
    urls: Urls = None,
    groups: Groups = None,
    prefixes: Prefixes = None,
    hosts: Hosts = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what is stored: everything, or what a purge of these targets would hit.

    A purged response is listed until it is fetched again or KV drops it; `inspect` tells the difference.

        origin-sdk list --prefix https://api.example.com/products --limit 20
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    targets = Targets(urls=urls or (), groups=groups or (), prefixes=prefixes or (), hosts=hosts or ())
    wanted = targets if any(targets.values()) else Targets()
    with context.client() as client, context.progress("listing") as _:
        responses = (each for each in client.list(**wanted) if each.index is None)
        found = list(islice(responses, limit + 1))
    shown, is_cut = found[:limit], len(found) > limit
    values = {"responses": [_as_json(each) for each in shown], "is_cut": is_cut}
    context.show(values, lambda screen: _draw(screen, shown, is_cut=is_cut))


def _as_json(stored: StoredResponse) -> dict[str, object]:
    record = stored.record
    return {
        "key": stored.key,
        "url": stored.url,
        "is_variant": stored.is_variant,
        "status": record.status if record else None,
        "body_bytes": stored.body_bytes,
        "groups": list(record.groups) if record else [],
        "expires_at": stored.expires_at.isoformat() if stored.expires_at else None,
    }


def _draw(screen: Screen, shown: list[StoredResponse], *, is_cut: bool) -> None:
    for stored in shown:
        status = stored.record.status if stored.record else "?"
        variant = "  (variant)" if stored.is_variant else ""
        screen.print(f"{status!s:4} {stored.body_bytes:>10,}  {stored.url}{variant}")
    more = ", and more: raise --limit" if is_cut else ""
    screen.print(f"{counted(len(shown), 'stored response')}{more}.", style="dim")
