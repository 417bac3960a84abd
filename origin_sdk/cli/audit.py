"""`origin-sdk audit`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from origin_sdk._edge.marks import MarkEntry
from origin_sdk._process.audit import AuditFile
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.screen import Screen

__all__ = ["audit"]

_MAX_HOURS = 24 * 366 * 100


def audit(
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="The audit file. Default: EDGE_CACHE_AUDIT_FILE.", envvar="EDGE_CACHE_AUDIT_FILE"
        ),
    ] = None,
    hours: Annotated[
        float, typer.Option("--hours", min=0, max=_MAX_HOURS, help="How far back to look.")
    ] = 24.0,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show who purged what and why: all marks in KV, and this machine's audit file.

    A mark is the latest purge of its target; earlier ones are in the files of those who purged. Marks by
    "edge" are the Worker's own, those without a name come from an SDK without EDGE_CACHE_ACTOR. A file may
    hold the lines of the Worker's LOG_WRITES, too. With EDGE_CACHE_STORE_KEYS, marks are named that nobody
    wrote who has the keys.
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    since = datetime.now(UTC) - timedelta(hours=hours)  # noqa: TID251 - a command is where the clock is read
    events = _events(file, since) if file else []
    if file and not file.exists():
        context.warn(f"{file}: there is no such audit file (yet); only marks are shown")
    with context.client() as client, context.progress("listing marks") as _:
        marks = [mark for mark in client.marks() if mark.moment is None or mark.moment >= since]
    marks.sort(key=lambda mark: (mark.moment is None, mark.moment))
    values = {"marks": [mark.as_json() for mark in marks], "events": events}
    context.show(values, lambda screen: _draw(screen, marks, events))


def _events(file: Path, since: datetime) -> list[dict[str, Any]]:
    try:
        return [event for event in AuditFile(file).read() if _is_since(event, since)]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file}: can't be read as an audit file: {error}") from error


def _is_since(event: Mapping[str, Any], since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(event.get("at"))) >= since
    except (ValueError, TypeError):  # no moment, or one without a zone: rather shown than hidden
        return True


def _draw(screen: Screen, marks: Sequence[MarkEntry], events: Sequence[Mapping[str, Any]]) -> None:
    if not marks:
        screen.print("No marks.")
    for mark in marks:
        moment = f"{mark.moment:%Y-%m-%d %H:%M:%S} UTC" if mark.moment else "at a moment that can't be read"
        screen.print(f"{mark.kind} purge of {mark.target}", style="bold")
        screen.row("when", moment)
        if mark.is_forged:
            screen.row("seal", "it isn't sealed by any of the keys: the Worker doesn't count it")
        if mark.by:
            screen.row("by", mark.by)
        if mark.why:
            screen.row("why", mark.why)
        screen.row("id", mark.purge_id or "-")
    for event in events:
        digests = ", ".join(map(str, event.get("digests") or ()))
        what = event.get("id") or event.get("url") or event.get("entry") or event.get("key") or digests
        screen.print(f"{event.get('action')} {what}: {event.get('outcome')}", style="bold")
        screen.row("when", event.get("at"))
        screen.row("by", event.get("actor") or "-")
