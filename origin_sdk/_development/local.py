"""What stands around a Worker on this machine: its variables, its dashboard, ports, and what is printed."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import urlsplit

from origin_sdk._development.process import Process
from origin_sdk._development.request_log import LogTail, has_colour, shown
from origin_sdk._development.wrangler import Wrangler, declared
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk_wire.config import problems

__all__ = [
    "FOR_DEVELOPERS",
    "TRY_ANY",
    "addresses",
    "answers",
    "dashboards",
    "free_port",
    "interrupted_by_signals",
    "is_free",
    "purging_through",
    "start_dashboard",
    "warnings_of",
    "watch",
]

FOR_DEVELOPERS: Mapping[str, str] = {
    "DEVELOPMENT": "true",
    "CACHE_STATUS_KEY": "true",
    "METRICS_URLS": "full",
}
"""Variables that show what only a developer should see."""

TRY_ANY = """\
try:
  curl -i {url}/     # Cache-Status says whether the response was stored, and why not
  curl -i --compressed {url}/     # as browsers ask: Content-Encoding says how it travelled
"""

_CONNECT_SECONDS = 1.0
_DASHBOARD_PORT = 8790
_DASHBOARD_SECONDS = 30.0
_WATCH_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt; nothing interrupts the stopping."""

    def interrupt(*_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def warnings_of(config: Path, environment: str, variables: Mapping[str, object]) -> Sequence[str]:
    """Hold the settings against the Worker's own validation, and return its warnings.

    Raises :class:`InvalidSettings` for what the Worker can't use: it answers 500 then.
    """
    declared_and_given = {**declared(config, environment).get("vars", {}), **variables}
    found = problems(declared_and_given, has_secrets=False)  # .dev.vars has them
    if found.errors:
        listed = "\n".join(f"  {each}" for each in found.errors)
        raise InvalidSettings(f"the Worker can't use these settings:\n{listed}")
    return found.warnings


def purging_through(api_url: str, namespace: str) -> dict[str, str]:
    """Return the variables by which an origin purges through the API of a wrangler on this machine."""
    return {
        "CLOUDFLARE_API_BASE_URL": api_url,
        # It needs none, and a real one has no business here.
        "CLOUDFLARE_API_TOKEN": "",
        "EDGE_CACHE_NAMESPACE_ID": namespace,
    }


def start_dashboard(
    folder: Path,
    wrangler: Wrangler,
    *,
    port: int | None,
    cwd: Path,
    config: Path,
    environment: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Process:
    """Serve the dashboard over a running Worker; :func:`dashboard_url` tells its address.

    The port is the given one, 0 for any; without one 8790, or any if that is taken. ``config`` is the
    wrangler.toml, ``environment`` the one of it that counts, and ``variables`` more of what it purges by.
    """
    if port is None:
        port = _DASHBOARD_PORT if is_free(_DASHBOARD_PORT) else 0
    command = [sys.executable, "-m", "origin_sdk.cli", "dashboard", "--edge", wrangler.url]
    command += ["--port", str(port), "--history", str(folder / "dashboard.sqlite3"), "--allow-purge"]
    command += ["--config", str(config), *(["--env", environment] if environment else [])]
    edge = {
        **purging_through(wrangler.api_url(), wrangler.namespace()),
        "EDGE_CACHE_DATASET": "",
        "EDGE_CACHE_ACTOR": "",
        **variables,
    }
    started = Process(
        "the dashboard",
        command,
        log=folder / "dashboard.log",
        folder=cwd,
        environment=edge,
    )
    with ExitStack() as stack:
        stack.enter_context(started)
        started.wait_for(lambda: dashboard_url(started), what="its address", seconds=_DASHBOARD_SECONDS)
        stack.pop_all()
    return started


def dashboard_url(process: Process) -> str | None:
    """Return the address that the dashboard has told; none of other programs."""
    found = re.search(r"^dashboard: (\S+)$", process.output(), re.MULTILINE)
    return found and found[1]


def addresses(wrangler: Wrangler) -> Iterator[str]:
    """Yield the lines that tell where to look at what a running Worker holds and counts."""
    yield f"KV REST API: {wrangler.kv_url()}"
    yield f"what KV holds: {wrangler.explorer_url()}"
    yield f"metrics: {wrangler.url}/.edge-cache/metrics"


def dashboards(running: Iterable[Process]) -> Iterator[str]:
    """Yield the lines that tell where a dashboard is, if one of the programs serves it."""
    for process in running:
        if url := dashboard_url(process):
            yield f"dashboard: {url}/#range=10m"


def watch(
    running: Sequence[Process], log: Path | None, show: Callable[[str], None], *, hidden: str = ""
) -> NoReturn:
    """Show a line for each request that comes to the log, until one of the programs ends.

    Lines with ``hidden`` in them are left out.

    Raises :class:`ProcessError` when one has.
    """
    tail, colour = LogTail(log) if log else None, has_colour(sys.stdout)
    while True:
        for line in tail.lines() if tail else ():
            if not (hidden and hidden in line) and (text := shown(line, colour=colour)):
                show(text)
        for process in running:
            process.check()
        time.sleep(_WATCH_SECONDS)


def is_free(port: int) -> bool:
    """Whether nothing listens on a port of this machine."""
    try:
        return bool(free_port(port))
    except InvalidRequest:
        return False


def free_port(port: int = 0) -> int:
    """Return a port on which nothing listens: the given one, or any for 0.

    Raises :class:`InvalidRequest` if it is taken.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise InvalidRequest(
                f"port {port} can't be used ({error.strerror}): stop what listens there, or choose another "
                "one with --port N"
            ) from error
        free: int = listener.getsockname()[1]
        return free


def answers(url: str) -> bool:
    """Whether something accepts connections at the host and port of a URL."""
    parts = urlsplit(url)
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
