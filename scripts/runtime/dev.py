"""Start the edge cache on this machine, in front of the demo origin or of any other.

It runs until Ctrl-C or SIGTERM, and then stops everything that it started.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from origin_sdk._development.local import (
    FOR_DEVELOPERS,
    TRY_ANY,
    addresses,
    answers,
    dashboards,
    free_port,
    interrupted_by_signals,
    purging_through,
    start_dashboard,
    warnings_of,
    watch,
)
from origin_sdk._development.process import Process, ProcessError
from origin_sdk._development.request_log import LIVE_VARIABLES
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.project import read_configuration
from scripts.runtime import paths, traffic
from scripts.runtime.wrangler import Wrangler, with_purge_log

_DEFAULT_PORT = 8787
_DEMO_SECONDS = 30.0

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
  curl -i {url}/products/17     # in seconds, by the second request: the origin purges what it changes
  curl -i --compressed {url}/products     # 11 KB that travel as 2: compressed once, for all who ask for it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal comes, then return 0. Return 1 if something could not start, or ended by itself."""
    options = _parser().parse_args(arguments)
    try:
        with interrupted_by_signals():
            _serve(options)
    except KeyboardInterrupt:
        return 0
    except (InvalidRequest, ProcessError) as error:
        print(f"scripts/dev: {error}", file=sys.stderr)
        return 1


def _serve(options: argparse.Namespace) -> NoReturn:
    port = free_port(options.port)
    folder = paths.RUNTIME / "dev" / str(port)
    configuration = read_configuration(options.config, options.env)
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    config = with_purge_log(options.config, folder, options.env) if options.purge_log else options.config
    log_key = json.dumps({"dev": {"secret": secrets.token_urlsafe(32)}}) if options.purge_log else ""
    with ExitStack() as stack:
        origin, demo = options.origin, None
        if origin is None:
            api = f"http://127.0.0.1:{port}/cdn-cgi/local/explorer/api"
            purging = purging_through(api, configuration.namespace_id)
            telling = _telling(f"http://127.0.0.1:{port}", log_key)
            origin, demo = _start_demo(folder, stack, {**purging, **telling})
        elif not answers(origin):
            print(f"scripts/dev: nothing answers at {origin} yet: start the origin", file=sys.stderr)
        live = {} if options.no_requests else LIVE_VARIABLES
        rules = {"RULES": json.dumps(_DEMO_RULES)} if demo and "RULES" not in configuration.variables else {}
        variables = {
            "ORIGIN": origin,
            **FOR_DEVELOPERS,
            **live,
            **rules,
            **({"PURGE_LOG_KEYS": log_key} if log_key else {}),
            **dict(options.var),
        }
        for warning in warnings_of(options.config, options.env, variables):
            print(f"scripts/dev: warning: {warning}", file=sys.stderr)
        print("scripts/dev: starting the Worker, which takes seconds …", file=sys.stderr)
        wrangler = stack.enter_context(
            Wrangler(folder, port=port, variables=variables, config=config, environment=options.env)
        )
        running = [wrangler.process, *([demo] if demo else [])]
        if options.dashboard:
            telling = _telling(wrangler.url, log_key)
            dashboard = start_dashboard(
                folder,
                wrangler,
                port=options.dashboard_port,
                cwd=paths.ROOT,
                config=options.config,
                environment=options.env,
                variables=telling,
            )
            running.append(stack.enter_context(dashboard))
        if demo and options.traffic:
            running.append(_start_traffic(folder, stack, wrangler.url, origin))
        for name, value in _telling(wrangler.url, log_key).items():
            print(f"export {name}={shlex.quote(value)}")
        _announce(wrangler, origin, running, is_demo=demo is not None)
        log = None if options.no_requests else wrangler.process.log
        watch(running, log, _show, hidden=f"//{traffic.HOST}")


def _telling(url: str, key: str) -> Mapping[str, str]:
    """Return the variables by which a client tells the purge log; none without a key."""
    return {"EDGE_CACHE_LOG_URL": url, "EDGE_CACHE_LOG_KEY": key} if key else {}


def _show(line: str) -> None:
    print(line, flush=True)


def _start_demo(folder: Path, stack: ExitStack, environment: Mapping[str, str]) -> tuple[str, Process]:
    port = free_port()
    command = [sys.executable, "-m", "examples.catalogue", "--port", str(port)]
    demo = stack.enter_context(
        Process(
            "the demo origin",
            command,
            log=folder / "origin.log",
            folder=paths.ROOT,
            environment={**environment, "EDGE_CACHE_ACTOR": "catalogue"},
        )
    )
    url = f"http://127.0.0.1:{port}"
    demo.wait_for(lambda: answers(url) or None, what="accepting connections", seconds=_DEMO_SECONDS)
    return url, demo


def _start_traffic(folder: Path, stack: ExitStack, edge: str, origin: str) -> Process:
    command = [sys.executable, "-m", "scripts.runtime.traffic", edge, origin]
    return stack.enter_context(
        Process("the demo's traffic", command, log=folder / "traffic.log", folder=paths.ROOT)
    )


def _announce(wrangler: Wrangler, origin: str, running: Sequence[Process], *, is_demo: bool) -> None:
    logs = " ".join(str(each.log.relative_to(paths.ROOT)) for each in running)
    here = (f"ready: {wrangler.url}", f"origin: {origin}", f"logs: {logs}")
    print(*dashboards(running), *here, *addresses(wrangler), sep="\n")
    print((_TRY_DEMO if is_demo else TRY_ANY).format(url=wrangler.url, origin=origin), end="", flush=True)


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
        "--config",
        type=Path,
        default=paths.WRANGLER_CONFIG,
        metavar="FILE",
        help="another wrangler.toml (default: this checkout's)",
    )
    parser.add_argument(
        "--env", default="", metavar="NAME", help="an environment of wrangler.toml (default: its top level)"
    )
    parser.add_argument(
        "--purge-log",
        action="store_true",
        help="bind the purge log, with a key of its own, which is printed for those who purge",
    )
    parser.add_argument(
        "--no-requests", action="store_true", help="print no line for each request (and log none)"
    )
    parser.add_argument(
        "--dashboard-port",
        type=_port,
        metavar="N",
        help="the dashboard's port, 0 for any (default: 8790, or any if that is taken)",
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
