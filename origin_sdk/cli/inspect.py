"""`origin-sdk inspect`."""

from typing import Annotated

import typer

from origin_sdk._edge.inspection import Inspected, Inspection
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.screen import Screen

__all__ = ["Url", "inspect"]

Url = Annotated[str, typer.Argument(help="The URL as a client requests it.")]


def inspect(
    url: Url,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what is stored for a URL: its age, groups and marks, and what the next request gets.

    Exits with 1 if nothing is stored.
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    with context.client() as client:
        inspection = client.inspect(url)
    context.show(inspection.as_json(), lambda screen: _draw(screen, inspection))
    if not inspection.stored:
        raise typer.Exit(1)


def _draw(screen: Screen, inspection: Inspection) -> None:
    if not inspection.stored:
        screen.print(f"Nothing is stored for {inspection.url}: the next request asks the origin.")
    for stored in inspection.stored:
        _draw_stored(screen, stored)
    if inspection.varies_by:
        screen.print(f"varies by {', '.join(inspection.varies_by)}")


def _draw_stored(screen: Screen, stored: Inspected) -> None:
    screen.print(stored.key, style="bold")
    screen.row("next", stored.outcome.value)
    if stored.born:
        freshness = (
            f"fresh for {stored.fresh_for} s more"
            if stored.fresh_for > 0
            else f"stale for {-stored.fresh_for} s"
        )
        screen.row("age", f"{stored.age} s, {freshness}; born {stored.born:%Y-%m-%d %H:%M:%S} UTC")
        screen.row("response", f"{stored.status}, {stored.body_bytes} bytes")
        screen.row("groups", ", ".join(stored.groups) or "none")
    if stored.expires_at:
        screen.row("KV drops", f"{stored.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    for mark in stored.marks:
        effect = f"purges it ({mark.lane.name.lower()})" if mark.applies else "is older than it"
        screen.row("mark", f"{mark.name} of {mark.moment:%Y-%m-%d %H:%M:%S} UTC {effect}")
