"""`origin-sdk publish` and `origin-sdk warm`."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from origin_sdk.base import PublishArguments
from origin_sdk.cli.context import (
    AsJson,
    BaseUrl,
    ConfigFile,
    Context,
    NamespaceId,
    counted,
    read_text,
    table,
)
from origin_sdk.client import PurgeClient
from origin_sdk.errors import InvalidRequest
from origin_sdk.publishing import Published
from origin_sdk.settings import Settings
from origin_sdk.warming import Warmed, moved_to, urls_of_list, urls_of_openapi, urls_of_sitemap

__all__ = ["publish", "warm"]

_MAX_SITEMAPS = 50
_FETCH_SECONDS = 30.0

Headers = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="A response field, 'Name: value'. Repeatable.")
]
RequestHeaders = Annotated[
    list[str] | None,
    typer.Option(
        "--request-header", help="A request field that selects this variant: what Vary names. Repeatable."
    ),
]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="A group that the response belongs to. Repeatable.")
]
Status = Annotated[int, typer.Option("--status", help="The status code.")]
Born = Annotated[
    datetime | None,
    typer.Option(
        "--born",
        help="When rendering began, in UTC: a purge since then wins. Default: when FILE was last changed.",
    ),
]


def publish(
    url: Annotated[str, typer.Argument(help="Under which URL.")],
    file: Annotated[str, typer.Argument(help="The body; - for standard input.")],
    headers: Headers = None,
    groups: Groups = None,
    status: Status = 200,
    request_headers: RequestHeaders = None,
    born: Born = None,
    config: ConfigFile = None,
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store a response at the edge before anyone asks: update instead of purge.

    origin-sdk publish https://api.example.com/menu menu.json -H 'Cache-Control: max-age=600' -H
    'Content-Type: application/json'
    """
    context = Context(config, namespace_id, base_url, as_json)
    with context.client() as client:
        body, changed = _body(file, client)
        arguments = PublishArguments(
            status=status,
            headers=_fields(headers),
            groups=groups or (),
            request_headers=_fields(request_headers),
            born=born.replace(tzinfo=UTC) if born else changed,
        )
        published = client.publish(url, body, **arguments)
    context.show(published.as_json(), lambda console: _draw_published(console, published))


def _body(file: str, client: PurgeClient) -> tuple[bytes, datetime]:
    """Return the body and the moment before which it was rendered."""
    if file == "-":
        began = client.now()
        return sys.stdin.buffer.read(), began
    try:
        path = Path(file)
        return path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise InvalidRequest(f"{file} can't be read: {error}") from error


def _fields(lines: list[str] | None) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines or ():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidRequest(f"{line!r} isn't a field: write 'Name: value'")
        fields[name.strip()] = value.strip()
    return fields


def _draw_published(console: Console, published: Published) -> None:
    console.print(f"Published {published.url}", style="green", markup=False)
    console.print(f"  key         {published.key}", markup=False)
    console.print(f"  fresh for   {published.fresh_seconds} s, kept for {published.seconds} s")
    console.print(f"  stored      {published.stored_bytes} bytes in {counted(published.requests, 'request')}")
    console.print(f"  everywhere  by {published.visible_by:%Y-%m-%d %H:%M:%S} UTC")


def warm(
    urls: Annotated[list[str] | None, typer.Argument(help="URLs to ask for.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="A file with a URL in each line; - for standard input.")
    ] = None,
    sitemap: Annotated[
        str | None, typer.Option("--sitemap", help="A sitemap: a file or a URL; those that it names too.")
    ] = None,
    openapi: Annotated[
        str | None,
        typer.Option(
            "--openapi",
            help="An OpenAPI document in JSON: every GET whose parameters have examples or defaults.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="Ask this scheme and host instead of those in the list.")
    ] = "",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="So many at once.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Ask the Worker for URLs, so that KV has them before clients come. Needs no token.

    origin-sdk warm --sitemap https://www.example.com/sitemap.xml
    origin-sdk warm --openapi openapi.json --base https://api.example.com
    """
    context = Context(None, None, None, as_json)
    wanted = [*(urls or ()), *(urls_of_list(read_text(file)) if file else ())]
    wanted += _from_sitemap(sitemap) if sitemap else ()
    left_out: list[str] = []
    if openapi:
        documented, left_out = urls_of_openapi(_fetched(openapi), base)
        wanted += documented
    if not wanted:
        raise InvalidRequest("nothing to warm: give URLs, --file, --sitemap or --openapi")
    with PurgeClient(Settings.nowhere()) as client, context.progress("warming") as on_progress:
        results = client.warm(
            (moved_to(url, base) for url in wanted), concurrency=concurrency, on_progress=on_progress
        )
    summary = {
        "asked": len(results),
        "cached": sum(result.cached for result in results),
        "left_out": left_out,
        "results": [result.as_json() for result in results],
    }
    context.show(summary, lambda console: _draw_warmed(console, results, left_out))
    if not all(result.cached for result in results):
        raise typer.Exit(1)


def _from_sitemap(place: str) -> Iterator[str]:
    places, seen = [place], 0
    while places and seen < _MAX_SITEMAPS:
        urls, further = urls_of_sitemap(_fetched(places.pop(0)))
        yield from urls
        places += further
        seen += 1


def _fetched(place: str) -> bytes:
    try:
        if "://" not in place:
            return Path(place).read_bytes()
        response = httpx.get(place, follow_redirects=True, timeout=_FETCH_SECONDS)
        response.raise_for_status()
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidRequest(f"{place} can't be read: {error}") from error
    return response.content


def _draw_warmed(console: Console, results: tuple[Warmed, ...], left_out: list[str]) -> None:
    cached = sum(result.cached for result in results)
    console.print(
        f"{cached} of {len(results)} URLs are at the edge",
        style="green" if cached == len(results) else "yellow",
    )
    missing = table("status", "url", "why")
    for result in results:
        if not result.cached:
            missing.add_row(
                str(result.status or ""), result.url, result.error or result.cache_status or "no Cache-Status"
            )
    if missing.row_count:
        console.print(missing)
    for path in left_out:
        console.print(f"left out, a parameter has no example: {path}", style="dim", markup=False)
