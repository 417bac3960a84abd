"""`origin-sdk purge`."""

from typing import Annotated

import typer
from rich.console import Console

from origin_sdk.base import Targets
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, NamespaceId, counted, read_text
from origin_sdk.purging import BlastRadius, Receipt
from origin_sdk.warming import urls_of_list

__all__ = ["purge"]

_WHAT = "What to purge"
_HOW = "How"

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
    typer.Option("--host", help="A host with all it serves. Repeatable.", rich_help_panel=_WHAT),
]
Everything = Annotated[bool, typer.Option("--everything", help="The whole cache.", rich_help_panel=_WHAT)]
Hard = Annotated[
    bool,
    typer.Option(
        "--hard",
        help="As if it weren't stored. Without: stale, so that it may still be shown while it is "
        "refreshed or while the origin is down.",
        rich_help_panel=_HOW,
    ),
]
Delete = Annotated[
    bool,
    typer.Option(
        "--delete",
        help="Remove it from KV as well (with --hard). Costs requests by what is stored.",
        rich_help_panel=_HOW,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Purge nothing; count what would be hit.", rich_help_panel=_HOW)
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for `origin-sdk audit`.", rich_help_panel=_HOW)]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Don't ask before purging a host or everything.", rich_help_panel=_HOW),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Seconds for all of it. Default: as long as Cloudflare's limits make it.",
        rich_help_panel=_HOW,
    ),
]


def purge(
    urls: Urls = None,
    url_file: UrlFile = None,
    groups: Groups = None,
    prefixes: Prefixes = None,
    hosts: Hosts = None,
    everything: Everything = False,
    hard: Hard = False,
    delete: Delete = False,
    dry_run: DryRun = False,
    reason: Reason = "",
    yes: Yes = False,
    timeout: Timeout = None,
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Purge URLs, groups, path prefixes, hosts or everything: any mix, in one request.

    A purge writes marks: it costs the same for ten stored responses as for ten million, and a refresh that is
    under way can't bring old data back.

        origin-sdk purge --group product-17 --group products
        origin-sdk purge --prefix https://api.example.com/products --dry-run
        git diff --name-only | ./urls-of | origin-sdk purge --url-file -
    """
    context = Context(config, namespace_id, base_url, as_json)
    listed = urls_of_list(read_text(url_file)) if url_file else ()
    targets = Targets(
        urls=(*(urls or ()), *listed),
        groups=groups or (),
        prefixes=prefixes or (),
        hosts=hosts or (),
        everything=everything,
        hard=hard,
        delete=delete,
        reason=reason,
    )
    with context.client(timeout) as client:
        if dry_run:
            with context.progress("looking through KV") as on_progress:
                radius = client.preview(on_progress=on_progress, **targets)
            context.show(radius.as_json(), lambda console: _draw_radius(console, radius))
            return
        if (everything or hosts) and not yes:
            context.confirm(f"Purge {'everything' if everything else ', '.join(hosts or ())}?")
        with context.progress("purging") as on_progress:
            receipt = client.purge(on_progress=on_progress, **targets)
    context.show(receipt.as_json(), lambda console: _draw_receipt(console, receipt))


def _draw_radius(console: Console, radius: BlastRadius) -> None:
    console.print(f"Nothing is purged. A purge of {radius.purge} would", markup=False)
    console.print(f"  write {counted(radius.marks, 'mark')}")
    console.print(
        f"  hit {counted(radius.responses, 'stored response')} of {_size(radius.body_bytes)} in all"
    )
    for example in radius.examples:
        console.print(f"    {example}", markup=False)
    if radius.responses > len(radius.examples):
        console.print("    …")
    console.print(
        f"Counted over {counted(radius.scanned_keys, 'key')} in {counted(radius.requests, 'request')}.",
        style="dim",
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _draw_receipt(console: Console, receipt: Receipt) -> None:
    console.print(f"Purged, {receipt.purge}", style="green", markup=False)
    console.print(f"  id          {receipt.id}")
    console.print(f"  marks       {len(receipt.marks)} in {counted(receipt.requests, 'request')}")
    if receipt.deleted:
        console.print(f"  deleted     {counted(receipt.deleted, 'key')}")
    console.print(f"  everywhere  by {receipt.visible_by:%Y-%m-%d %H:%M:%S} UTC")
