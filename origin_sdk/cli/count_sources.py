"""What `dashboard`, `top` and `metrics` share: where counts come from.

The dashboard's modules are imported when one of them runs: the other commands start sooner without.
"""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import quote

import httpx
import typer

from origin_sdk._cloudflare.connections import tls
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk._values.settings import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from origin_sdk.dashboard.analytics import AnalyticsSource
    from origin_sdk.dashboard.holdings import Holdings
    from origin_sdk.dashboard.observatory import Intervals, Observatory
    from origin_sdk.dashboard.services import Service
    from origin_sdk.dashboard.sources import Source

__all__ = [
    "AnalyticsUrl",
    "Dataset",
    "DebugSecret",
    "EdgeUrl",
    "ServiceUrls",
    "Sources",
    "listener",
    "observatory",
    "state_folder",
    "watched_services",
]

_FROM = "Where the counts come from"

EdgeUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--edge",
        help="The Worker, such as https://api.example.com: its route of metrics is read.",
        envvar="EDGE_CACHE_URL",
        rich_help_panel=_FROM,
    ),
]
DebugSecret: TypeAlias = Annotated[
    str,
    typer.Option(
        "--debug-secret",
        help="The Worker's DEBUG_SECRET, which the route asks for; better set EDGE_CACHE_DEBUG_SECRET, since "
        "other users of this machine can see a command's options.",
        envvar="EDGE_CACHE_DEBUG_SECRET",
        show_envvar=False,
        rich_help_panel=_FROM,
    ),
]
Dataset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="The dataset of Workers Analytics Engine that the Worker writes: every location, three months. "
        "Needs CLOUDFLARE_ACCOUNT_ID and a token with Account Analytics: Read, in CLOUDFLARE_ANALYTICS_TOKEN "
        "or CLOUDFLARE_API_TOKEN.",
        envvar="EDGE_CACHE_DATASET",
        rich_help_panel=_FROM,
    ),
]
AnalyticsUrl: TypeAlias = Annotated[str | None, typer.Option("--analytics-url", hidden=True)]
ServiceUrls: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        help="What a service behind the edge exports for Prometheus, such as http://127.0.0.1:8000/metrics: "
        "its layered caches, outbox and drainer. Repeatable.",
        rich_help_panel=_FROM,
    ),
]


@dataclass(frozen=True)
class Sources:
    """The options of a command that say where counts come from."""

    edge: str | None = None
    debug_secret: str = field(default="", repr=False)
    dataset: str | None = None
    analytics_url: str | None = None
    services: Sequence[str] = ()

    def check(self) -> None:
        """Raise :class:`InvalidRequest` if there is none."""
        if not self.edge and not self.dataset:
            raise InvalidRequest(
                "no counts to show: give --edge with the Worker's URL (`origin-sdk dev` prints it), or "
                "--dataset with its dataset of Analytics Engine, or both"
            )

    def analytics(self) -> "AnalyticsSource | None":
        """Return Analytics Engine, if it is named.

        Raises :class:`InvalidSettings` if something that it needs is missing.
        """
        from origin_sdk.dashboard.analytics import AnalyticsSettings, AnalyticsSource  # noqa: PLC0415

        if not self.dataset:
            return None
        token = os.environ.get("CLOUDFLARE_ANALYTICS_TOKEN") or os.environ.get("CLOUDFLARE_API_TOKEN", "")
        account = os.environ.get("CLOUDFLARE_ACCOUNT_ID", "")
        if not self.analytics_url and not (token and account):
            raise InvalidSettings(
                "--dataset needs CLOUDFLARE_ACCOUNT_ID, and a token with Account Analytics: Read in "
                "CLOUDFLARE_ANALYTICS_TOKEN or CLOUDFLARE_API_TOKEN"
            )
        url = f"{DEFAULT_BASE_URL}/accounts/{quote(account, safe='')}/analytics_engine/sql"
        settings = AnalyticsSettings(self.analytics_url or url, token.strip(), self.dataset)
        return AnalyticsSource(settings)


@contextmanager
def observatory(
    given: Sources,
    *,
    history: Path | None = None,
    holdings: "Holdings | None" = None,
    young_seconds: float | None = None,
    intervals: "Intervals | None" = None,
) -> Iterator["Observatory"]:
    """Put together what a command watches; nothing is asked before it is entered.

    Without ``history`` nothing is kept. ``young_seconds`` is that of :class:`Recorded`.
    """
    from origin_sdk.dashboard.history import History  # noqa: PLC0415
    from origin_sdk.dashboard.observatory import Intervals, Observatory  # noqa: PLC0415
    from origin_sdk.dashboard.route import MetricsRoute  # noqa: PLC0415
    from origin_sdk.dashboard.sources import Recorded  # noqa: PLC0415
    from origin_sdk.dashboard.tallies import YOUNG_SECONDS  # noqa: PLC0415

    given.check()
    clock = SystemClock()
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(verify=tls()))
        sources: list[Source] = []
        if analytics := given.analytics():
            stack.callback(analytics.close)
            sources.append(analytics)
        if given.edge:
            route = MetricsRoute(given.edge, client, given.debug_secret.strip())
            kept = stack.enter_context(History(history or ":memory:"))
            young = YOUNG_SECONDS if young_seconds is None else young_seconds
            sources.append(Recorded(kept, route.read, clock, route.url, young_seconds=young))
        services = watched_services(given, client)
        keeps = _shown(history) if history and given.edge else ""
        yield Observatory(clock, sources, services, holdings, intervals or Intervals(), keeps)


def watched_services(given: Sources, client: httpx.Client) -> "list[Service]":
    """Return the services that are named; raises :class:`InvalidRequest` for what is no URL."""
    from origin_sdk.dashboard.services import Service  # noqa: PLC0415

    return [Service(_checked(url), SystemClock(), client) for url in given.services]


def listener(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that listens at a port, 0 for any; raises :class:`InvalidRequest` where it is taken."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise InvalidRequest(
            f"--port {port}: can't be used ({error.strerror}): stop what listens there, or choose another"
        ) from error
    return bound


def _checked(url: str) -> str:
    if not re.match(r"https?://[^/]", url):
        raise InvalidRequest(f"--service {url}: write the URL of its metrics, http://host:port/metrics")
    return url


def _shown(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if str(path).startswith(home) else str(path)


def state_folder() -> Path:
    """Return where programs keep what they remember, by the XDG Base Directory Specification."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "origin-sdk"
