"""`origin-sdk dashboard`."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from origin_sdk._edge.operations import resolved
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.cli.context import BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.count_sources import (
    AnalyticsUrl,
    Dataset,
    DebugSecret,
    EdgeUrl,
    ServiceUrls,
    Sources,
    listener,
    observatory,
    state_folder,
)

if TYPE_CHECKING:
    from origin_sdk.dashboard.holdings import Holdings
    from origin_sdk.dashboard.observatory import Intervals

__all__ = ["dashboard"]

_PORT = 8790
_LOCAL_MARKS_SECONDS = 5.0
_LOCAL_STORED_SECONDS = 30.0


def dashboard(
    edge: EdgeUrl = None,
    debug_secret: DebugSecret = "",
    dataset: Dataset = None,
    service: ServiceUrls = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port on this machine; 0 for any.")
    ] = _PORT,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            help="Where the route's counts are kept, for at most six months. Default: a file in "
            "~/.local/state/origin-sdk.",
        ),
    ] = None,
    allow_purge: Annotated[
        bool, typer.Option("--allow-purge", help="Let the page purge a URL. Without, it only looks.")
    ] = False,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    analytics_url: AnalyticsUrl = None,
) -> None:
    """Show the cache live in a browser: hits, why the rest missed, the origin, purges, cost.

    The page is served on this machine alone, until Ctrl-C, and asks no other host. It works without a KV
    namespace, too, but then knows neither what is stored nor who purged.

        origin-sdk dashboard --edge http://127.0.0.1:8787
        origin-sdk dashboard --dataset edge_cache --edge https://api.example.com
    """
    import uvicorn  # noqa: PLC0415 - with the dashboard's own modules, only when it runs

    from origin_sdk.dashboard.server import create_app  # noqa: PLC0415

    context = Context(config, environment, namespace_id, base_url)
    sources = Sources(edge, debug_secret, dataset, analytics_url, service or ())
    sources.check()
    holdings = _holdings(context, may_purge=allow_purge)
    kept = history or state_folder() / "dashboard.sqlite3"
    with (
        listener(port) as listening,
        observatory(
            sources, history=kept, holdings=holdings, intervals=_intervals(context, holdings)
        ) as watched,
        watched,
    ):
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        typer.echo(f"dashboard: {url}")
        if opens:
            webbrowser.open(url)
        app = create_app(watched, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", proxy_headers=False, lifespan="off"))
        server.run(sockets=[listening])


def _holdings(context: Context, *, may_purge: bool) -> "Holdings | None":
    """Return what KV holds, or nothing where no namespace is named; what is misspelled is an error."""
    from origin_sdk.dashboard.holdings import Holdings  # noqa: PLC0415

    given = {"namespace_id": context.namespace_id, "base_url": context.base_url}
    project = context.project
    try:
        settings, _ = resolved(None, project, given)
    except InvalidSettings as error:
        if may_purge or context.namespace_id or context.base_url:
            raise
        context.note(f"without KV: {error}")
        return None
    return Holdings(context.unchecked_client, SystemClock(), may_purge, settings.audit_file)


def _intervals(context: Context, holdings: "Holdings | None") -> "Intervals":
    """Return how often to ask: KV's API costs nothing on this machine."""
    from origin_sdk.dashboard.observatory import Intervals  # noqa: PLC0415

    if holdings is None or _is_cloudflare(context):
        return Intervals()
    return Intervals(marks=_LOCAL_MARKS_SECONDS, stored=_LOCAL_STORED_SECONDS)


def _is_cloudflare(context: Context) -> bool:
    given = {"namespace_id": context.namespace_id, "base_url": context.base_url}
    return resolved(None, context.project, given)[0].is_cloudflare
