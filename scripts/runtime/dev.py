"""Start the edge cache on this machine, in front of the demo origin or of any other.

It runs until Ctrl-C or SIGTERM, and then stops everything that it started.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from origin_sdk._development.process import Process, ProcessError
from origin_sdk._development.request_log import LIVE_VARIABLES, LogTail, has_colour, shown
from origin_sdk_wire.config import problems
from scripts.runtime import paths, traffic
from scripts.runtime.wrangler import Wrangler, read_config

_DEFAULT_PORT = 8787
_DASHBOARD_PORT = 8790
_CONNECT_SECONDS = 1.0
_DEMO_SECONDS = 30.0
_WATCH_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_FOR_DEVELOPERS = {"DEVELOPMENT": "true", "CACHE_STATUS_KEY": "true", "METRICS_URLS": "full"}
"""Variables that show what only a developer should see."""

_DEMO_RULES = (
    {"name": "products", "path": ["/products", "/products/**"]},
    {"name": "categories", "path": ["/categories", "/categories/**"]},
    {"name": "search", "path": "/search"},
    {"name": "account", "path": ["/me", "/me/**"]},
)
"""Names for what the demo answers, for the dashboard to tell it apart. They change nothing else."""

_TRY_DEMO = """\
try:
  curl -i {url}/products/17     # a miss: the origin answers, and the response is stored
  curl -i {url}/products/17     # a hit: Cache-Status says so, and Age since when
  curl -i -X PATCH {url}/products/17 --json '{{"price_cents": 4990}}'
  curl -i {url}/products/17     # the new price: the answer to the write has purged the old one
  curl -i -X PATCH {origin}/products/17 --json '{{"price_cents": 5990}}'
  curl -i {url}/products/17     # newer still, in seconds: the origin purges what it changes
"""
_TRY_ANY = """\
try:
  curl -i {url}/     # Cache-Status says whether the response was stored, and why not
"""


class DevError(Exception):
    """What the user can put right. The message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal comes, then return 0. Return 1 if something could not start, or ended by itself."""
    options = _parser().parse_args(arguments)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        _serve(options)
    except KeyboardInterrupt:
        return 0
    except (DevError, ProcessError) as error:
        print(f"scripts/dev: {error}", file=sys.stderr)
        return 1


def _interrupt(*_: object) -> None:
    """Begin to stop, and let nothing interrupt the stopping."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _serve(options: argparse.Namespace) -> NoReturn:
    port = _free_port(options.port)
    folder = paths.RUNTIME / "dev" / str(port)
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        origin, demo = options.origin, None
        if origin is None:
            origin, demo = _start_demo(folder, stack, _purging_through(port))
        elif not _answers(origin):
            print(f"scripts/dev: nothing answers at {origin} yet: start the origin", file=sys.stderr)
        live = {} if options.no_requests else LIVE_VARIABLES
        rules = {"RULES": json.dumps(_DEMO_RULES)} if demo and "RULES" not in read_config()["vars"] else {}
        variables = {"ORIGIN": origin, **_FOR_DEVELOPERS, **live, **rules, **dict(options.var)}
        _check(variables)
        wrangler = stack.enter_context(Wrangler(folder, port=port, variables=variables))
        running = [wrangler.process, *([demo] if demo else [])]
        if options.dashboard:
            running.append(_start_dashboard(folder, stack, wrangler, options.dashboard_port))
        if demo and options.traffic:
            running.append(_start_traffic(folder, stack, wrangler.url, origin))
        _announce(wrangler, origin, running, is_demo=demo is not None)
        tail, colour = LogTail(wrangler.process.log), has_colour(sys.stdout)
        while True:
            if not options.no_requests:
                _show(tail, colour=colour)
            for process in running:
                process.check()
            time.sleep(_WATCH_SECONDS)


def _show(tail: LogTail, *, colour: bool) -> None:
    """Print a line for each request that the Worker has logged, but for the demo's traffic."""
    for line in tail.lines():
        if f"//{traffic.HOST}" not in line and (text := shown(line, colour=colour)):
            print(text, flush=True)


def _check(variables: Mapping[str, str]) -> None:
    """Hold the settings against the Worker's own validation: with invalid ones it answers 500."""
    found = problems({**read_config().get("vars", {}), **variables})
    for warning in found.warnings:
        print(f"scripts/dev: warning: {warning}", file=sys.stderr)
    if found.errors:
        raise DevError(
            "the Worker can't use these settings:\n" + "\n".join(f"  {each}" for each in found.errors)
        )


def _purging_through(port: int) -> dict[str, str]:
    """Return the variables by which an origin purges through the API of the wrangler on this port."""
    [namespace, *_] = read_config()["kv_namespaces"]
    return {
        "CLOUDFLARE_API_BASE_URL": f"http://127.0.0.1:{port}/cdn-cgi/local/explorer/api",
        # It needs none, and a real one has no business here.
        "CLOUDFLARE_API_TOKEN": "",
        "EDGE_CACHE_NAMESPACE_ID": namespace["id"],
        "EDGE_CACHE_ACTOR": "catalogue",
    }


def _start_demo(folder: Path, stack: ExitStack, environment: Mapping[str, str]) -> tuple[str, Process]:
    port = _free_port()
    command = [sys.executable, "-m", "examples.catalogue", "--port", str(port)]
    demo = stack.enter_context(
        Process(
            "the demo origin", command, log=folder / "origin.log", folder=paths.ROOT, environment=environment
        )
    )
    url = f"http://127.0.0.1:{port}"
    demo.wait_for(lambda: _answers(url) or None, what="accepting connections", seconds=_DEMO_SECONDS)
    return url, demo


def _start_dashboard(folder: Path, stack: ExitStack, wrangler: Wrangler, port: int | None) -> Process:
    """Serve the dashboard; its first line of output tells its address."""
    if port is None:
        port = _DASHBOARD_PORT if _is_free(_DASHBOARD_PORT) else 0
    command = [sys.executable, "-m", "origin_sdk.cli", "dashboard", "--edge", wrangler.url]
    command += ["--port", str(port), "--history", str(folder / "dashboard.sqlite3"), "--allow-purge"]
    edge = {
        **_purging_through(urlsplit(wrangler.url).port or 0),
        "EDGE_CACHE_DATASET": "",
        "EDGE_CACHE_ACTOR": "",
    }
    dashboard = stack.enter_context(
        Process("the dashboard", command, log=folder / "dashboard.log", folder=paths.ROOT, environment=edge)
    )
    dashboard.wait_for(lambda: _dashboard_url(dashboard), what="its address", seconds=_DEMO_SECONDS)
    return dashboard


def _dashboard_url(dashboard: Process) -> str | None:
    found = re.search(r"^dashboard: (\S+)$", dashboard.output(), re.MULTILINE)
    return found and found[1]


def _start_traffic(folder: Path, stack: ExitStack, edge: str, origin: str) -> Process:
    command = [sys.executable, "-m", "scripts.runtime.traffic", edge, origin]
    return stack.enter_context(
        Process("the demo's traffic", command, log=folder / "traffic.log", folder=paths.ROOT)
    )


def _announce(wrangler: Wrangler, origin: str, running: Sequence[Process], *, is_demo: bool) -> None:
    for process in running:
        if url := _dashboard_url(process):
            print(f"dashboard: {url}/#range=10m")
    print(f"ready: {wrangler.url}")
    print(f"origin: {origin}")
    print(f"logs: {' '.join(str(each.log.relative_to(paths.ROOT)) for each in running)}")
    print(f"KV REST API: {wrangler.kv_url()}")
    print(f"metrics: {wrangler.url}/.edge-cache/metrics")
    print((_TRY_DEMO if is_demo else _TRY_ANY).format(url=wrangler.url, origin=origin), end="", flush=True)


def _is_free(port: int) -> bool:
    try:
        return bool(_free_port(port))
    except DevError:
        return False


def _free_port(port: int = 0) -> int:
    """Return a port on which nothing listens: the given one, or any for 0. Raises DevError if it is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevError(
                f"port {port} can't be used ({error.strerror}): stop what listens there, or choose another "
                "one with --port N"
            ) from error
        free: int = listener.getsockname()[1]
        return free


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/dev", description=__doc__)
    parser.add_argument(
        "--origin", type=_origin, metavar="URL", help="the running origin to cache (default: a demo origin)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        metavar="N",
        help="the port on 127.0.0.1, 0 for any (default: %(default)s)",
    )
    parser.add_argument(
        "--var",
        type=_variable,
        default=[],
        nargs="+",
        action="extend",
        metavar="NAME:VALUE",
        help="a variable of the Worker, over the one in wrangler.toml",
    )
    parser.add_argument(
        "--no-requests", action="store_true", help="print no line for each request (and log none)"
    )
    parser.add_argument(
        "--dashboard-port",
        type=_port,
        metavar="N",
        help=f"the dashboard's port, 0 for any (default: {_DASHBOARD_PORT}, or any if that is taken)",
    )
    parser.add_argument("--no-dashboard", dest="dashboard", action="store_false", help="serve no dashboard")
    parser.add_argument(
        "--no-traffic", dest="traffic", action="store_false", help="send no requests to the demo"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep what the last run on this port stored (default: start empty)",
    )
    return parser


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or "?" in text or "#" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin: write one like http://127.0.0.1:8000")
    return text.rstrip("/")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to 65535")
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not name.isidentifier() or not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not a variable: write NAME:VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
