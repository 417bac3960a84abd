"""`origin-sdk metrics`."""

from contextlib import ExitStack
from typing import Annotated

import httpx
import typer

from origin_sdk._cloudflare.connections import tls
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.cli.count_sources import (
    DebugSecret,
    EdgeUrl,
    ServiceUrls,
    Sources,
    listener,
    watched_services,
)
from origin_sdk.outbox._stores.failures import without_secrets
from origin_sdk.outbox._stores.urls import open_outbox

__all__ = ["metrics"]

_PORT = 9464
"""The port that OpenTelemetry's exporters for Prometheus take."""


def metrics(
    edge: EdgeUrl = None,
    debug_secret: DebugSecret = "",
    service: ServiceUrls = None,
    outbox: Annotated[
        list[str] | None,
        typer.Option(
            "--outbox",
            help="An outbox to ask for what waits in it, such as sqlite:///outbox.db. Repeatable.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for any.")] = _PORT,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics and end.")] = False,
) -> None:
    """Export everything for Prometheus: the edge, what services export, outboxes.

    The edge's counters are added up over isolates. Prometheus asks http://HOST:PORT/metrics; the repository's
    folder monitoring/ has alert rules and Grafana dashboards for it.

        origin-sdk metrics --edge https://api.example.com --outbox sqlite:///outbox.db
    """
    import uvicorn  # noqa: PLC0415 - with the dashboard's own modules, only when it runs
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    from origin_sdk.dashboard.exporter import Exporter, create_app  # noqa: PLC0415
    from origin_sdk.dashboard.route import MetricsRoute  # noqa: PLC0415

    sources = Sources(edge, debug_secret, services=service or ())
    if not (edge or service or outbox):
        raise InvalidRequest("nothing to export: give --edge, --service or --outbox")
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(verify=tls()))
        route = MetricsRoute(edge, client, sources.debug_secret.strip()) if edge else None
        outboxes = {without_secrets(url): open_outbox(url) for url in outbox or ()}
        for each in outboxes.values():
            stack.callback(each.close)
        exporter = Exporter(route.read if route else None, watched_services(sources, client), outboxes)
        if once:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(exporter)
            typer.echo(generate_latest(registry), nl=False)
            return
        listening = stack.enter_context(listener(port, host))
        typer.echo(f"metrics: http://{host}:{listening.getsockname()[1]}/metrics")
        app = create_app(exporter)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", proxy_headers=False, lifespan="off"))
        server.run(sockets=[listening])
