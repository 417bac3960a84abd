"""`origin-sdk warm`."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated

import typer

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.warmup import Warmed, WarmRequest, checked_url, moved_to
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.settings import Settings
from origin_sdk.cli.context import AsJson, Context, interruptible
from origin_sdk.cli.lines import Lines
from origin_sdk.cli.requests import Content, Method, RequestHeaders, content_of, fields_of
from origin_sdk.cli.screen import Screen, counted
from origin_sdk.cli.sources import FoundUrls, of_openapi, of_sitemap

__all__ = ["warm"]

_SHOWN = 50


def warm(
    urls: Annotated[list[str] | None, typer.Argument(help="URLs to ask for.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="A file with a URL in each line; - for standard input.")
    ] = None,
    sitemap: Annotated[
        str | None,
        typer.Option(
            "--sitemap",
            help="A sitemap: a file or a URL; those that it names on the same host (or that of --base), too.",
        ),
    ] = None,
    openapi: Annotated[
        str | None,
        typer.Option(
            "--openapi",
            help="An OpenAPI document in JSON: every GET whose parameters have examples or defaults.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="Ask this scheme and host in place of those in the list.")
    ] = "",
    method: Method = "GET",
    content: Content = None,
    request_headers: RequestHeaders = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=64, help="How many requests at once.")
    ] = 8,
    as_json: AsJson = False,
) -> None:
    """Request URLs from the Worker, so that KV has them before clients do. Needs no token.

    What the edge doesn't keep, such as a page of one user's own, is listed. Exits with 1 if a URL couldn't be
    asked for, the origin failed, or no cache answered.

        origin-sdk warm --sitemap https://www.example.com/sitemap.xml
        origin-sdk warm --openapi openapi.json --base https://api.example.com
        origin-sdk warm https://api.example.com/search --method QUERY --content @query.json
    """
    context = Context(as_json=as_json)
    if base:
        checked_url(base)
    found = _found(urls or [], file, sitemap, openapi, base)
    if found is None:
        raise InvalidRequest("nothing to warm: give URLs, --file, --sitemap or --openapi")
    for note in found.notes:
        context.warn(note)
    request = WarmRequest(method, content_of(content), fields_of(request_headers))
    done = Progress(0, len(found.urls))
    with PurgeClient(Settings.nowhere()) as client, context.progress("warming") as show:

        def on_progress(progress: Progress) -> None:
            nonlocal done
            done = progress
            if show:
                show(progress)

        with interruptible(lambda: f"{done.done:,} of {counted(done.total or 0, 'URL')} were asked for"):
            results = client.warm(
                (moved_to(url, base) for url in found.urls),
                concurrency=concurrency,
                on_progress=on_progress,
                request=request,
            )
    summary = {
        "asked": len(results),
        "cached": sum(result.cached for result in results),
        "failed": sum(result.failed for result in results),
        "left_out": found.left_out,
        "results": [result.as_json() for result in results],
    }
    context.show(summary, lambda screen: _draw(screen, results, found.left_out))
    if any(result.failed for result in results):
        raise typer.Exit(1)


def _found(
    urls: list[str], file: str | None, sitemap: str | None, openapi: str | None, base: str
) -> FoundUrls | None:
    """Gather what to ask for; ``None`` if nothing was named to take it from."""
    if not (urls or file or sitemap or openapi):
        return None
    found = FoundUrls()
    for url in urls:
        found.urls.append(checked_url(url))
    with ExitStack() as stack:
        if file:
            lines = stack.enter_context(Lines(file))
            lines.check(checked_url)
            found.urls += [checked_url(entry) for _, entry in lines]
    if sitemap:
        of_sitemap(sitemap, base, found)
    if openapi:
        of_openapi(openapi, base, found)
    return found


def _draw(screen: Screen, results: Sequence[Warmed], left_out: Sequence[str]) -> None:
    cached, failed = sum(each.cached for each in results), [each for each in results if each.failed]
    passed = [each for each in results if not each.cached and not each.failed]
    if not results:
        screen.print("Nothing to warm: the lists are empty.")
    else:
        style = "red" if failed else "green"
        screen.print(f"At the edge: {cached:,} of {counted(len(results), 'URL')}", style=style)
    _draw_some(screen, "failed", failed)
    _draw_some(screen, "not kept", passed)
    for reason in left_out[:_SHOWN]:
        screen.print(f"left out: {reason}", style="dim")
    if len(left_out) > _SHOWN:
        screen.print(f"left out: {len(left_out) - _SHOWN:,} more", style="dim")


def _draw_some(screen: Screen, what: str, results: Sequence[Warmed]) -> None:
    for result in results[:_SHOWN]:
        screen.print(f"{what}: {result.status or ''} {result.url}")
        screen.print(f"  {result.error or result.cache_status or 'no Cache-Status: no cache answered'}")
    if len(results) > _SHOWN:
        screen.print(f"{what}: {len(results) - _SHOWN:,} more (--json has them)")
