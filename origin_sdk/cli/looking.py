"""`origin-sdk inspect`, `explain`, `doctor` and `audit`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from origin_sdk.auditing import AuditFile, MarkEntry
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, NamespaceId, table
from origin_sdk.doctoring import Finding, Verdict
from origin_sdk.explaining import Explanation
from origin_sdk.explaining import explain as explained
from origin_sdk.inspecting import Inspected, Inspection

__all__ = ["audit", "doctor", "explain", "inspect"]

Url = Annotated[str, typer.Argument(help="The URL as a client asks for it.")]
_STYLES = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}


def inspect(
    url: Url,
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what is stored for a URL, how old, which groups and marks it has, and what comes next.

    Exits with 1 if nothing is stored.
    """
    context = Context(config, namespace_id, base_url, as_json)
    with context.client() as client:
        inspection = client.inspect(url)
    context.show(inspection.as_json(), lambda console: _draw_inspection(console, inspection))
    if not inspection.stored:
        raise typer.Exit(1)


def _draw_inspection(console: Console, inspection: Inspection) -> None:
    if not inspection.stored:
        console.print(
            f"Nothing is stored for {inspection.url}: the next request asks the origin.", markup=False
        )
    for stored in inspection.stored:
        _draw_stored(console, stored)
    if inspection.varies_by:
        console.print(f"varies by {', '.join(inspection.varies_by)}", markup=False)


def _draw_stored(console: Console, stored: Inspected) -> None:
    console.print(stored.key, style="bold", markup=False)
    console.print(f"  next       {stored.outcome.value}")
    if stored.born:
        freshness = (
            f"fresh for {stored.fresh_for} s more"
            if stored.fresh_for > 0
            else f"stale for {-stored.fresh_for} s"
        )
        console.print(f"  age        {stored.age} s, {freshness}; born {stored.born:%Y-%m-%d %H:%M:%S} UTC")
        console.print(f"  response   {stored.status}, {stored.body_bytes} bytes")
        console.print(f"  groups     {', '.join(stored.groups) or 'none'}", markup=False)
    if stored.expires_at:
        console.print(f"  KV drops   {stored.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    for mark in stored.marks:
        effect = f"purges it ({mark.lane.name.lower()})" if mark.applies else "is older than it"
        console.print(
            f"  mark       {mark.name} of {mark.moment:%Y-%m-%d %H:%M:%S} UTC {effect}", markup=False
        )


def explain(
    url: Url,
    method: Annotated[str, typer.Option("--method", help="The request's method.")] = "GET",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a URL's key, what is merged or split into it, which rule applied and why. Asks nobody.

    origin-sdk explain 'https://api.example.com/products?utm_source=x&page=2' --config wrangler.toml
    """
    context = Context(config, None, None, as_json)
    explanation = explained(url, context.project, method)
    context.show(explanation.as_json(), lambda console: _draw_explanation(console, explanation))


def _draw_explanation(console: Console, explanation: Explanation) -> None:
    console.print(f"key     {explanation.key or 'none: nothing is stored'}", style="bold", markup=False)
    console.print(f"rule    {explanation.rule or 'none applies: the defaults do'}", markup=False)
    for verdict in explanation.verdicts:
        console.print(
            f"        {'→' if verdict.applies else ' '} {verdict.name}: {verdict.why}", markup=False
        )
    for title, lines in (
        ("merged", explanation.merged),
        ("split", explanation.split_by),
        ("purged", explanation.marks),
    ):
        for number, line in enumerate(lines):
            console.print(f"{title if not number else '':8}{line}", markup=False)


def doctor(
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    write: Annotated[
        bool, typer.Option(help="Try the write permission with a key that lives a minute.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Examine token, namespace, the Worker's wire version, clock, and settings that contradict each other.

    Exits with 1 if there is a problem.
    """
    context = Context(config, namespace_id, base_url, as_json)
    with context.client() as client:
        findings = client.check(may_write=write)
    context.show(
        [finding.as_json() for finding in findings], lambda console: _draw_findings(console, findings)
    )
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(1)


def _draw_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        console.print(f"{finding.verdict.value:8}", style=_STYLES[finding.verdict], end="")
        console.print(f" {finding.check}: {finding.message}", markup=False)


def audit(
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="The audit file. Default: EDGE_CACHE_AUDIT_FILE.", envvar="EDGE_CACHE_AUDIT_FILE"
        ),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0, help="How far back to look.")] = 24.0,
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show who purged what and why: the marks in KV, written by anyone, and this machine's audit file.

    A mark is the latest purge of its target; earlier ones are in the files of those who purged. Marks without
    a name come from the Worker, by a field of a response, or from an SDK without EDGE_CACHE_ACTOR.
    """
    context = Context(config, namespace_id, base_url, as_json)
    since = datetime.now(UTC) - timedelta(hours=hours)  # noqa: TID251 - a command is where the clock is read
    with context.client() as client, context.progress("listing marks") as _:
        marks = [mark for mark in client.marks() if mark.moment is None or mark.moment >= since]
    marks.sort(key=lambda mark: (mark.moment is None, mark.moment))
    events = [event for event in AuditFile(file).read() if _is_since(event, since)] if file else []
    values = {"marks": [mark.as_json() for mark in marks], "events": events}
    context.show(values, lambda console: _draw_audit(console, marks, events))


def _is_since(event: dict[str, Any], since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(event.get("at"))) >= since
    except ValueError:
        return True


def _draw_audit(console: Console, marks: list[MarkEntry], events: list[dict[str, Any]]) -> None:
    drawn = table("when (UTC)", "how", "what", "by", "why", "id")
    for mark in marks:
        moment = f"{mark.moment:%Y-%m-%d %H:%M:%S}" if mark.moment else "unreadable"
        drawn.add_row(moment, mark.kind, mark.target, mark.by or "-", mark.why or "-", mark.purge_id)
    console.print(drawn if marks else "No marks.")
    for event in events:
        what = event.get("id") or event.get("url", "")
        done = f"{event.get('at')} {event.get('action')} {what}"
        console.print(f"{done} by {event.get('actor') or '-'}: {event.get('outcome')}", markup=False)
