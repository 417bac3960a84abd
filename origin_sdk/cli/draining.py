"""`origin-sdk drain` and `origin-sdk outbox`."""

import json
import signal
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from origin_sdk.auditing import AuditFile
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, NamespaceId, table
from origin_sdk.clock import SystemClock
from origin_sdk.errors import InvalidRequest
from origin_sdk.outbox import Drainer, Listed, OriginRenderer, Pace, Renderers, Round, State
from origin_sdk.outbox.entries import current_who
from origin_sdk.outbox.opening import open_layers, open_outbox

__all__ = ["drain", "outbox"]

_DAY_SECONDS = 86400.0
_LISTED = {
    "waiting": [State.WAITING],
    "dead": [State.DEAD],
    "open": [State.WAITING, State.DEAD],
    "all": list(State),
}

OutboxUrl = Annotated[
    str,
    typer.Option(
        "--outbox",
        help="sqlite:///file, postgresql://user@host/database, redis://host/0?stream=name, or django (with "
        "DJANGO_SETTINGS_MODULE).",
        envvar="EDGE_CACHE_OUTBOX",
    ),
]
Ids = Annotated[list[str], typer.Argument(help="Ids, as `outbox list` shows them.")]


def drain(
    outbox_url: OutboxUrl,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is due any more.")] = False,
    poll: Annotated[float, typer.Option("--poll", min=0.01, help="Seconds between two looks.")] = 1.0,
    lease: Annotated[
        float,
        typer.Option("--lease", min=1, help="Seconds until another drainer takes entries over."),
    ] = 120.0,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="How long done entries stay.")] = 7.0,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            help="The origin's own URL, past the edge: where responses that are to be published come from.",
            envvar="EDGE_CACHE_ORIGIN",
        ),
    ] = None,
    layers_url: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="The Redis of the services' layered cache, redis://host/0?prefix=name: what is purged is "
            "invalidated there, and in the services' memory, before it is at the edge.",
            envvar="EDGE_CACHE_LAYERS",
        ),
    ] = None,
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Deliver what an outbox holds, until a signal comes. Several drainers of one outbox are safe.

    What fails waits, and is tried again for ever; `origin-sdk outbox list` shows it. With --once it exits
    with 1 if something is left.
    """
    context = Context(config, namespace_id, base_url, as_json)
    pace = Pace(poll_seconds=poll, lease_seconds=lease, keep_seconds=keep_days * _DAY_SECONDS)
    renderers = Renderers(OriginRenderer(origin) if origin else None)

    def show(made: Round) -> None:
        context.show(
            {name: getattr(made, name) for name in made.__slots__},
            lambda console: console.print(
                f"{made.done} done, {made.failed} wait, {made.dead} dead; lag {made.lag_seconds:.1f} s"
            ),
        )

    with (
        closing(open_outbox(outbox_url)) as opened,
        open_layers(layers_url) as layers,
        context.client() as client,
    ):
        file = client.settings.audit_file
        audit = AuditFile(Path(file)) if file else None
        drainer = Drainer(opened, client, pace, renderers, audit=audit, on_round=show, layers=layers)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: drainer.stop())
        if not once:
            drainer.run()
            return
        drainer.drain()
        if any(opened.status().counts.get(state) for state in (State.WAITING, State.DEAD)):
            raise typer.Exit(1)


outbox = typer.Typer(
    name="outbox", help="Look into an outbox of purges, replay and drop.", no_args_is_help=True
)


@outbox.command("list")
def list_(
    outbox_url: OutboxUrl,
    which: Annotated[
        str, typer.Option("--state", help="waiting, dead, open (both), or all: the audit record.")
    ] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the latest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who asked for what and why, when, and how it ended."""
    if which not in _LISTED:
        raise InvalidRequest(f"--state {which}: give one of {', '.join(_LISTED)}")
    with closing(open_outbox(outbox_url)) as opened:
        listed, status = opened.list(_LISTED[which], limit), opened.status()
    lag = status.lag_seconds(SystemClock().now())
    values = {
        "counts": {state.value: count for state, count in status.counts.items()},
        "lag_seconds": lag,
        "entries": [entry.as_json() for entry in listed],
    }
    Context(None, None, None, as_json).show(values, lambda console: _draw(console, listed, lag))


@outbox.command()
def replay(
    outbox_url: OutboxUrl,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as `outbox list` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that wait or are dead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make entries due at once, dead ones too."""
    if bool(ids) == everything:
        raise InvalidRequest("give ids, or --all")
    with closing(open_outbox(outbox_url)) as opened:
        count = opened.replay(None if everything else _checked(ids or []))
    _say(count, "are due at once", as_json=as_json)


@outbox.command()
def drop(outbox_url: OutboxUrl, ids: Ids, as_json: AsJson = False) -> None:
    """Give entries up: the edge may serve what they were to purge. They stay on record as dropped."""
    who = current_who().actor
    with closing(open_outbox(outbox_url)) as opened:
        count = opened.drop(_checked(ids), SystemClock().now(), f"dropped{f' by {who}' if who else ''}")
    _say(count, "are dropped", as_json=as_json)


def _checked(ids: list[str]) -> list[str]:
    if wrong := [id_ for id_ in ids if not id_.replace("-", "", 1).isdecimal()]:
        raise InvalidRequest(f"{wrong[0]!r} isn't an id: take one from `origin-sdk outbox list`")
    return ids


def _say(count: int, what: str, *, as_json: bool) -> None:
    text = f"{count} entries {what}."
    Context(None, None, None, as_json).show({"entries": count}, lambda console: console.print(text))
    if not count:
        raise typer.Exit(1)


def _draw(console: Console, listed: Sequence[Listed], lag: float) -> None:
    drawn = table("id", "state", "recorded (UTC)", "who", "why", "what", "tries", "result")
    for entry in listed:
        recorded = datetime.fromtimestamp(entry.recorded_at, UTC)
        what = json.dumps(entry.as_json()["payload"], ensure_ascii=False)
        cells = (entry.actor, entry.reason, what, str(entry.attempts), entry.result)
        drawn.add_row(entry.id, entry.state.value, f"{recorded:%Y-%m-%d %H:%M:%S}", *map(_plain, cells))
    console.print(drawn)
    console.print(f"The oldest that waits does so for {lag:.1f} s.")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
