"""`origin-sdk switch`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from origin_sdk._edge.switches import SwitchRecord
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.screen import Screen
from origin_sdk_wire.purge_log.entries import MAX_STALE_SECONDS, SwitchKind
from origin_sdk_wire.quantities import SECONDS, quantity

__all__ = ["switch"]

switch = typer.Typer(
    name="switch",
    help="What the cache does differently for a while, without a deploy. Needs a purge log.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

RuleName = Annotated[str, typer.Option("--rule", help="For this rule alone. Default: for everything.")]
For = Annotated[str | None, typer.Option("--for", help="For how long: 90s, 15m, 2h; 24h at most.")]
Until = Annotated[
    datetime | None,
    typer.Option("--until", help="Until when, UTC.", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
]
Why = Annotated[str, typer.Option("--why", help="Why, for the audit and for whoever comes across it.")]


@switch.command()
def bypass(
    why: Why,
    rule: RuleName = "",
    for_: For = None,
    until: Until = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let the cache take no part: nothing is answered from it, nor stored; the origin gets every request."""
    context = Context(config, environment, namespace_id, base_url, as_json)
    _set(context, SwitchKind.BYPASS, rule, _end(for_, until), why)


@switch.command()
def pause(
    why: Why,
    for_: For = None,
    until: Until = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let purges wait: those since now take effect when it ends, so that an origin in trouble is spared."""
    context = Context(config, environment, namespace_id, base_url, as_json)
    _set(context, SwitchKind.PAUSE, "", _end(for_, until), why)


@switch.command()
def stale(
    window: Annotated[str, typer.Argument(help="The least window for stale responses: 10m, 6h, 7d.")],
    why: Why,
    rule: RuleName = "",
    for_: For = None,
    until: Until = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let stale responses be served for longer: while they are refreshed, and while the origin fails."""
    context = Context(config, environment, namespace_id, base_url, as_json)
    _set(context, SwitchKind.STALE, rule, _end(for_, until), why, _seconds("WINDOW", window))


@switch.command()
def undo(
    kind: Annotated[str, typer.Argument(help="bypass, pause or stale.")],
    rule: RuleName = "",
    why: Annotated[str, typer.Option("--why", help="Why, for the audit.")] = "",
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Take a switch back before its time is over: that of everything, or of a rule."""
    _set(Context(config, environment, namespace_id, base_url, as_json), kind, rule, None, why)


@switch.command("list")
def list_(
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the switches that are on, as the Worker tells."""
    context = Context(config, environment, namespace_id, base_url, as_json)
    with context.client() as client:
        found = client.switches()
    context.show([each.as_json() for each in found], lambda screen: _draw(screen, found))


def _set(context: Context, kind: str, rule: str, until: datetime | None, why: str, seconds: int = 0) -> None:
    with context.client() as client:
        made = client.switch(kind, rule=rule, until=until, seconds=seconds, reason=why)

    def draw(screen: Screen) -> None:
        is_set = until is not None
        screen.print("Set: " if is_set else "Taken back: ", style="green", end="")
        screen.print(str(made) if is_set else f"{made.kind.value} of {made.rule or 'everything'}")
        if not made.told:
            screen.print("The Worker isn't told, and finds it in KV within about a minute.", style="yellow")

    context.show(made.as_json(), draw)


def _end(for_: str | None, until: datetime | None) -> datetime:
    if (for_ is None) == (until is None):
        raise InvalidRequest("say when it ends: give --for 30m, or --until 2026-11-28T18:00")
    if until is not None:
        return until.replace(tzinfo=UTC)
    seconds = _seconds("--for", for_)
    return datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: TID251 - a command is where the clock is read


def _seconds(name: str, text: object) -> int:
    try:
        found = quantity(text, SECONDS)
    except ValueError as error:
        raise InvalidRequest(f"{name} {text}: give seconds, or a duration such as 90s, 15m or 2h") from error
    if not 1 <= found <= MAX_STALE_SECONDS:
        raise InvalidRequest(f"{name} {text}: give a second to a year")
    return round(found)


def _draw(screen: Screen, found: Sequence[SwitchRecord]) -> None:
    for each in found:
        screen.print(str(each))
    if not found:
        screen.print("No switch is on.")
