"""`origin-sdk outbox`."""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk.cli.context import AsJson, Context
from origin_sdk.cli.drain import OutboxUrl
from origin_sdk.cli.screen import Screen
from origin_sdk.outbox import Listed, State
from origin_sdk.outbox._stores.entries import Republish, current_who, read_payload
from origin_sdk.outbox._stores.failures import store_errors
from origin_sdk.outbox._stores.urls import open_outbox

__all__ = ["outbox"]

_LISTED = {
    "waiting": [State.WAITING],
    "dead": [State.DEAD],
    "open": [State.WAITING, State.DEAD],
    "all": list(State),
}

Ids = Annotated[list[str], typer.Argument(help="Ids, as `outbox list` shows them.")]

outbox = typer.Typer(
    name="outbox",
    help="Inspect an outbox of purges, replay and drop entries.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
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
    """Show who requested what, why and when, and how it ended."""
    if which not in _LISTED:
        raise InvalidRequest(f"--state {which}: give one of {', '.join(_LISTED)}")
    with store_errors(outbox_url), closing(open_outbox(outbox_url)) as opened:
        listed, status = opened.list(_LISTED[which], limit), opened.status()
    waiting = status.counts.get(State.WAITING, 0)
    values = {
        "counts": {state.value: count for state, count in status.counts.items()},
        "lag_seconds": status.lag_seconds,
        "entries": [entry.as_json() for entry in listed],
    }
    Context(as_json=as_json).show(
        values, lambda screen: _draw(screen, listed, status.lag_seconds if waiting else None)
    )


@outbox.command()
def replay(
    outbox_url: OutboxUrl,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as `outbox list` shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries that are waiting or dead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make entries due now, dead ones included."""
    if bool(ids) == everything:
        raise InvalidRequest("give ids, or --all")
    named = None if everything else _checked(ids or [])
    with store_errors(outbox_url), closing(open_outbox(outbox_url)) as opened:
        count = opened.replay(named)
    _say(count, "due now", count if named is None else len(named), as_json=as_json)


@outbox.command()
def drop(outbox_url: OutboxUrl, ids: Ids, as_json: AsJson = False) -> None:
    """Drop entries: the edge may go on serving what they were to purge. They stay on record as dropped."""
    who = current_who().actor
    named = _checked(ids)
    with store_errors(outbox_url), closing(open_outbox(outbox_url)) as opened:
        count = opened.drop(named, f"dropped{f' by {who}' if who else ''}")
    _say(count, "dropped", len(named), as_json=as_json)


def _checked(ids: list[str]) -> list[str]:
    if wrong := [id_ for id_ in ids if not id_.replace("-", "", 1).isdecimal()]:
        raise InvalidRequest(f"{wrong[0]!r} isn't an id: take one from `origin-sdk outbox list`")
    return list(dict.fromkeys(ids))


def _say(count: int, what: str, asked: int, *, as_json: bool) -> None:
    subject = "1 entry is" if count == 1 else f"{count:,} entries are"
    text = f"{subject} {what}."
    if missing := asked - count:
        text += f" {missing:,} of {asked:,} ids name no open entry: see `origin-sdk outbox list --state all`."
    Context(as_json=as_json).show({"entries": count}, lambda screen: screen.print(text))
    if not count or asked > count:
        raise typer.Exit(1)


def _draw(screen: Screen, listed: Sequence[Listed], lag: float | None) -> None:
    for entry in listed:
        recorded = datetime.fromtimestamp(entry.recorded_at, UTC)
        screen.print(f"{entry.id}  {entry.state.value}", style="bold")
        screen.row("what", _what(entry))
        screen.row("recorded", f"{recorded:%Y-%m-%d %H:%M:%S} UTC")
        if entry.actor or entry.reason:
            screen.row("by", ": ".join(filter(None, (entry.actor or "-", entry.reason))))
        if entry.attempts:
            tries = "1 try" if entry.attempts == 1 else f"{entry.attempts} tries"
            screen.row("result", f"{entry.result or '-'} ({tries})")
    screen.print("Nothing waits." if lag is None else f"The oldest has waited for {lag:.1f} s.")


def _what(entry: Listed) -> str:
    """Say in a line what an entry holds, also one that this release can't read."""
    try:
        intent = read_payload(entry.payload)
    except OriginSdkError:
        return json.dumps(entry.payload, ensure_ascii=False)
    return f"publish {intent.url}" if isinstance(intent, Republish) else f"purge, {intent}"
