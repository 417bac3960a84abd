"""`origin-sdk purge`."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

import typer

from origin_sdk._cloudflare.kv import MAX_BATCH_PAIRS
from origin_sdk._edge.blast_radius import BlastRadius
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import Targets
from origin_sdk._edge.visibility import Visible
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.project import Project
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.targets import Purge, parse_url
from origin_sdk.cli.context import (
    AsJson,
    BaseUrl,
    ConfigFile,
    Context,
    Environment,
    NamespaceId,
    interruptible,
)
from origin_sdk.cli.purge_list import LOGGED_PART_LINES, TargetList, is_something, purge_listed, show_nothing
from origin_sdk.cli.screen import Screen, counted

__all__ = ["purge"]


_UNKNOWN = "it isn't known what is purged; purge again, which does no harm"
_MAX_SECONDS = 7 * 86400.0
_WHAT = "What to purge"
_HOW = "How"
_NAMED = 3
_IDLE_SHOWN = 10

Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url", help="A URL, with all its variants, under http and https. Repeatable.", rich_help_panel=_WHAT
    ),
]
UrlFile = Annotated[
    str | None,
    typer.Option(
        "--url-file", help="A file with a URL in each line; - for standard input.", rich_help_panel=_WHAT
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        help="A group: what the origin named in Cache-Groups, Cache-Tag or Surrogate-Key. Repeatable.",
        rich_help_panel=_WHAT,
    ),
]
GroupFile = Annotated[
    str | None,
    typer.Option(
        "--group-file", help="A file with a group in each line; - for standard input.", rich_help_panel=_WHAT
    ),
]
Prefixes = Annotated[
    list[str] | None,
    typer.Option(
        "--prefix",
        help="A URL; everything at or below its path: /a covers /a/b, not /ab. Repeatable.",
        rich_help_panel=_WHAT,
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="A host and everything on it. Repeatable.", rich_help_panel=_WHAT),
]
Everything = Annotated[bool, typer.Option("--everything", help="The whole cache.", rich_help_panel=_WHAT)]
Hard = Annotated[
    bool,
    typer.Option(
        "--hard",
        help="Treat it as not stored. Without --hard it becomes stale: it may still be served while it is "
        "refreshed, or while the origin is down.",
        rich_help_panel=_HOW,
    ),
]
Delete = Annotated[
    bool,
    typer.Option(
        "--delete",
        help="Remove it from KV as well (with --hard). Costs requests in proportion to what is stored.",
        rich_help_panel=_HOW,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Purge nothing; count what would be hit.", rich_help_panel=_HOW)
]
FromLine = Annotated[
    int,
    typer.Option(
        "--from-line", min=1, help="Skip the lines of the file before this one.", rich_help_panel=_HOW
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for `origin-sdk audit`.", rich_help_panel=_HOW)]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help="Don't ask for confirmation before purging a host or everything. Required without a terminal.",
        rich_help_panel=_HOW,
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Return once every location honours the purge: within seconds with a purge log, else the whole "
        "bound. Exits with 4 if that isn't confirmed within --wait-seconds.",
        rich_help_panel=_HOW,
    ),
]
WaitSeconds = Annotated[
    float | None,
    typer.Option(
        "--wait-seconds",
        min=0,
        max=_MAX_SECONDS,
        help="Wait at most this long; implies --wait. Default: until the bound is over.",
        rich_help_panel=_HOW,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        max=_MAX_SECONDS,
        help="Seconds in all. Default: as long as Cloudflare's rate limit requires.",
        rich_help_panel=_HOW,
    ),
]


def purge(
    urls: Urls = None,
    url_file: UrlFile = None,
    groups: Groups = None,
    group_file: GroupFile = None,
    prefixes: Prefixes = None,
    hosts: Hosts = None,
    everything: Everything = False,
    hard: Hard = False,
    delete: Delete = False,
    dry_run: DryRun = False,
    from_line: FromLine = 1,
    reason: Reason = "",
    yes: Yes = False,
    wait: Wait = False,
    wait_seconds: WaitSeconds = None,
    timeout: Timeout = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Purge URLs, groups, path prefixes, hosts or everything: any mix, in one request.

    A purge writes marks: it costs the same for ten stored responses as for ten million, and a refresh that is
    under way can't bring old data back. A group or URL for which nothing is stored is purged all the same:
    --dry-run says what would be hit.

        origin-sdk purge --group product-17 --group products
        origin-sdk purge --prefix https://api.example.com/products --dry-run
        git diff --name-only | ./urls-of | origin-sdk purge --url-file -
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    if url_file and group_file:
        raise InvalidRequest("--url-file and --group-file: give one of them; purge the other afterwards")
    targets = Targets(
        urls=urls or (),
        groups=groups or (),
        prefixes=prefixes or (),
        hosts=hosts or (),
        everything=everything,
        hard=hard,
        delete=delete,
        reason=reason,
    )
    with ExitStack() as stack:
        listed = TargetList.opened(context, stack, url_file, group_file, from_line)
        client = stack.enter_context(context.client(timeout))
        if listed and not listed.count and not is_something(targets):
            show_nothing(context, listed)
            return
        if not (listed or is_something(targets)):
            raise InvalidRequest(f"nothing to purge: {_TARGETS}")
        if listed and client.has_purge_log:
            listed = replace(listed, part_lines=LOGGED_PART_LINES)
        if listed and listed.count <= listed.part_lines:
            targets = listed.joined(targets)
            listed = None
        if dry_run:
            _preview(context, client, targets, listed)
            return
        purge = None if listed else Purge.of(**targets)
        if (everything or hosts) and not yes:
            context.confirm(f"Purge {'everything' if everything else ', '.join(hosts or ())}?")
        seconds = _MAX_SECONDS if wait and wait_seconds is None else wait_seconds
        if purge:
            _purge_once(context, client, purge, seconds)
        elif listed:
            purge_listed(context, client, targets, listed, seconds)


_TARGETS = "give --url, --group, --prefix, --host or --everything, or a list by --url-file or --group-file"


def _purge_once(context: Context, client: PurgeClient, purge: Purge, wait_seconds: float | None) -> None:
    """Send a purge, and perhaps wait until it is seen everywhere; Ctrl-C then ends the waiting alone."""
    _warn_of_hosts(context, client.project, [purge])
    with context.progress("purging") as on_progress, interruptible(lambda: _UNKNOWN):
        receipt = client.send(purge, on_progress=on_progress)
    if wait_seconds is None:
        context.show(receipt.as_json(), lambda screen: _draw_receipt(screen, receipt))
        return
    if not context.as_json:
        _draw_receipt(Screen(), receipt)
    done = f"purge {receipt.id} is made, and seen everywhere by {receipt.visible_by:%H:%M:%S} UTC"
    with context.progress("locations that have read it") as on_progress, interruptible(lambda: done):
        visible = client.wait_until_visible(receipt, timeout=wait_seconds, on_progress=on_progress)
    values = {**receipt.as_json(), "visible": visible.as_json()}
    context.show(values, lambda screen: _draw_visible(screen, visible))


def _warn_of_hosts(context: Context, project: Project, purges: Sequence[Purge]) -> None:
    """Name hosts that no route of wrangler.toml serves: nothing of theirs can be stored."""
    hosts: dict[str, None] = {}
    for each in purges:
        hosts.update(dict.fromkeys(each.hosts))
        hosts.update(dict.fromkeys(parse_url(url).host for url in (*each.urls, *each.prefixes)))
    unserved = [host for host in hosts if not project.serves(host)]
    if unserved:
        named = ", ".join(unserved[:_NAMED]) + (" and others" if len(unserved) > _NAMED else "")
        context.warn(
            f"no route in wrangler.toml serves {named}: nothing can be stored there; check the spelling"
        )


def _preview(context: Context, client: PurgeClient, targets: Targets, listed: TargetList | None) -> None:
    if listed:
        raise InvalidRequest(
            f"--dry-run looks at {MAX_BATCH_PAIRS:,} lines at most, and {listed.lines.path} has "
            f"{listed.count:,}: try it with a part of the list"
        )
    purge = Purge.of(**targets)
    _warn_of_hosts(context, client.project, [purge])
    with context.progress("looking through KV") as on_progress:
        radius = client.preview(on_progress=on_progress, **targets)
    context.show(radius.as_json(), lambda screen: _draw_radius(screen, radius))


def _draw_radius(screen: Screen, radius: BlastRadius) -> None:
    screen.print(f"Nothing is purged. A purge of {radius.purge} would")
    screen.print(f"  write {counted(radius.marks, 'mark')}")
    screen.print(f"  hit {counted(radius.responses, 'stored response')} of {_size(radius.body_bytes)} in all")
    for example in radius.examples:
        screen.print(f"    {example}")
    if radius.responses > len(radius.examples):
        screen.print("    …")
    for target in radius.idle[:_IDLE_SHOWN]:
        screen.print(f"  hit nothing by {target}", style="yellow")
    if len(radius.idle) > _IDLE_SHOWN:
        screen.print(f"  nor by {counted(len(radius.idle) - _IDLE_SHOWN, 'other target')}", style="yellow")
    screen.print(
        f"Counted over {counted(radius.scanned_keys, 'key')} in {counted(radius.requests, 'request')}.",
        style="dim",
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _draw_receipt(screen: Screen, receipt: Receipt) -> None:
    screen.print(f"Purged, {receipt.purge}", style="green")
    screen.row("id", receipt.id)
    screen.row("marks", f"{len(receipt.marks)} in {counted(receipt.requests, 'request')}")
    if receipt.deleted:
        screen.row("deleted", counted(receipt.deleted, "key"))
    screen.row("everywhere", f"by {receipt.visible_by:%Y-%m-%d %H:%M:%S} UTC")
    if receipt.log:
        told = {True: "told", False: "not told: it finds the purge in KV", None: "not told: there is no key"}
        screen.row("purge log", told[receipt.told])


def _draw_visible(screen: Screen, visible: Visible) -> None:
    by = counted(visible.readers, "location") if visible.is_confirmed else "the bound, which is over"
    screen.row("seen", f"after {visible.seconds:.1f} s, by {by}")
