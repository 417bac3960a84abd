"""`origin-sdk purge`."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._cloudflare.kv import MAX_BATCH_PAIRS
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import Targets
from origin_sdk._edge.purge import BlastRadius
from origin_sdk._edge.visibility import Visible
from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk._values.project import Project
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.targets import NAMES, Purge, parse_group, parse_url
from origin_sdk.cli.context import (
    AsJson,
    BaseUrl,
    ConfigFile,
    Context,
    Environment,
    NamespaceId,
    interruptible,
)
from origin_sdk.cli.lines import Lines
from origin_sdk.cli.screen import Screen, counted

__all__ = ["purge"]

_PART_LINES = MAX_BATCH_PAIRS - 1
"""So many URLs and the shared mark are one request."""
_LOGGED_PART_LINES = 8_000
"""So many with the entries of the purge log, which hold five names at least."""

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
        listed = _Listed.opened(context, stack, url_file, group_file, from_line)
        client = stack.enter_context(context.client(timeout))
        if listed and not listed.count and not _is_something(targets):
            _show_nothing(context, listed)
            return
        if not (listed or _is_something(targets)):
            raise InvalidRequest(f"nothing to purge: {_TARGETS}")
        if listed and client.has_purge_log:
            listed = replace(listed, part_lines=_LOGGED_PART_LINES)
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
            _purge_listed(context, client, targets, listed, seconds)


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


def _is_something(targets: Targets) -> bool:
    return any(targets.get(name) for name in (*NAMES, "everything"))


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file of targets, all of them checked."""

    lines: Lines
    kind: str
    count: int
    from_line: int
    part_lines: int = _PART_LINES

    @classmethod
    def opened(
        cls,
        context: Context,
        stack: ExitStack,
        url_file: str | None,
        group_file: str | None,
        from_line: int,
    ) -> "_Listed | None":
        path = url_file or group_file
        if path is None:
            return None
        lines = stack.enter_context(Lines(path))
        with context.progress("checking lines") as on_progress:
            count = lines.check(parse_url if url_file else parse_group, on_progress)
        return cls(lines, "urls" if url_file else "groups", count, from_line)

    def joined(self, targets: Targets) -> Targets:
        """Return the targets with what is listed."""
        listed = [each for _, batch in self.batches() for each in batch]
        mixed = Targets(**targets)
        if self.kind == "urls":
            mixed["urls"] = (*targets["urls"], *listed)
        else:
            mixed["groups"] = (*targets["groups"], *listed)
        return mixed

    def batches(self) -> Iterator[tuple[int, list[str]]]:
        return self.lines.batches(self.part_lines, self.from_line)

    def purges(self, targets: Targets) -> Iterator[tuple[int, Purge]]:
        """Yield purges of a request each, with the last line of what they hold."""
        rest = {name: targets[name] for name in ("hard", "delete", "reason")}
        for last, batch in self.batches():
            yield last, Purge.of(**{self.kind: batch}, **rest)  # type: ignore[arg-type]  # by name


@dataclass
class _Total:
    """What the purges of one long list came to."""

    marks: int = 0
    requests: int = 0
    deleted: int = 0
    lines: int = 0
    receipts: list[str] = field(default_factory=list)
    visible_by: datetime | None = None

    def add(self, receipt: Receipt) -> None:
        self.marks += len(receipt.marks)
        self.requests += receipt.requests
        self.deleted += receipt.deleted
        self.receipts.append(receipt.id)
        self.visible_by = receipt.visible_by

    def as_json(self) -> dict[str, Any]:
        visible_by = self.visible_by.isoformat() if self.visible_by else None
        names = ("marks", "requests", "deleted", "lines")
        return {
            **{name: getattr(self, name) for name in names},
            "ids": self.receipts,
            "visible_by": visible_by,
        }


def _purge_listed(
    context: Context, client: PurgeClient, targets: Targets, listed: _Listed, wait_seconds: float | None
) -> None:
    """Purge a list that takes several requests, with a batch of it in memory at a time."""
    if wait_seconds is not None:
        raise InvalidRequest(
            f"--wait looks at one purge, and {listed.lines.path} takes several: purge without it; the output "
            "says by when all of it is seen"
        )
    total = _Total()
    try:
        if _is_something(targets):
            total.add(client.send(Purge.of(**targets)))
        with context.progress("purging", listed.count) as on_progress:
            for last, purge in listed.purges(targets):
                total.add(client.send(purge))
                total.lines = last
                if on_progress:
                    on_progress(Progress(min(total.marks, listed.count), listed.count))
    except (OriginSdkError, KeyboardInterrupt) as error:
        _tell_how_to_go_on(context, listed, total, error)
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else 1) from error
    context.show(total.as_json(), lambda screen: _draw_total(screen, total))


def _tell_how_to_go_on(
    context: Context, listed: _Listed, total: _Total, error: OriginSdkError | KeyboardInterrupt
) -> None:
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    next_line = total.lines + 1 if total.lines else listed.from_line
    done = (
        f"{listed.lines.path}: purged up to line {total.lines}, in {counted(total.marks, 'mark')}"
        if total.lines
        else f"{listed.lines.path}: no line of it is known to have been purged"
    )
    values = {**total.as_json(), "error": {"message": reason}, "next_line": next_line}

    def draw(_: Screen) -> None:
        screen = Screen(stderr=True)
        screen.print(f"error: {reason}", style="red")
        screen.print(f"{done}; go on with --from-line {next_line}")

    context.show(values, draw)


def _show_nothing(context: Context, listed: _Listed) -> None:
    text = f"Nothing to purge: {listed.lines.path} lists nothing."
    context.show({**_Total().as_json(), "message": text}, lambda screen: screen.print(text))


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


def _preview(context: Context, client: PurgeClient, targets: Targets, listed: _Listed | None) -> None:
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


def _draw_total(screen: Screen, total: _Total) -> None:
    screen.print(f"Purged, up to line {total.lines}", style="green")
    screen.row("marks", f"{total.marks:,} in {counted(total.requests, 'request')}")
    if total.deleted:
        screen.row("deleted", counted(total.deleted, "key"))
    if total.visible_by:
        screen.row("everywhere", f"by {total.visible_by:%Y-%m-%d %H:%M:%S} UTC")
