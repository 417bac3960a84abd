"""`origin-sdk dev`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from origin_sdk._deployment.node import find_node, find_wrangler, install_packages, is_up_to_date
from origin_sdk._deployment.pins import WRANGLER_VERSION
from origin_sdk._deployment.shield_config import SHIELD_FILE, local_shield_config
from origin_sdk._deployment.worker_code import put
from origin_sdk._development.local import (
    FOR_DEVELOPERS,
    TRY_ANY,
    addresses,
    answers,
    dashboards,
    free_port,
    interrupted_by_signals,
    start_dashboard,
    warnings_of,
    watch,
)
from origin_sdk._development.process import Process, ProcessError
from origin_sdk._development.request_log import LIVE_VARIABLES
from origin_sdk._development.wrangler import Tools, Wrangler
from origin_sdk._development.wrangler import declared as declared_in
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk._values.project import read_configuration
from origin_sdk.cli.build import built, is_checkout
from origin_sdk.cli.context import ConfigFile, Context, Environment, config_file

__all__ = ["dev"]


def dev(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- WRANGLER'S ARGUMENTS]", help="More arguments of `wrangler dev`."),
    ] = None,
    origin: Annotated[
        str, typer.Option("--origin", help="The running service. Default: ORIGIN in wrangler.toml.")
    ] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port on 127.0.0.1; 0 for any.")
    ] = 8787,
    var: Annotated[
        list[str] | None,
        typer.Option(
            "--var", metavar="NAME:VALUE", help="A variable over the one in wrangler.toml; repeatable."
        ),
    ] = None,
    has_dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Serve the dashboard.")
    ] = True,
    dashboard_port: Annotated[
        int | None,
        typer.Option("--dashboard-port", min=0, max=65535, help="Default: 8790, or any if it is taken."),
    ] = None,
    has_requests: Annotated[
        bool, typer.Option("--requests/--no-requests", help="Print a line for each request.")
    ] = True,
    keeps: Annotated[
        bool, typer.Option("--keep", help="Keep what the last run on this port stored. Default: start empty.")
    ] = False,
    config: ConfigFile = None,
    environment: Environment = "",
) -> None:
    """Run the Worker of this project on your machine, before your service, with local KV and a dashboard.

    Needs Node.js; wrangler is installed into node_modules where it is missing, by the version that
    package.json pins. Ends with Ctrl-C, and stops everything that it started.
    """
    context = Context(config, environment)
    file = config_file(config).absolute()
    variables = dict(_variable(each) for each in var or ())
    if origin:
        variables["ORIGIN"] = origin.rstrip("/")
    try:
        with interrupted_by_signals(), ExitStack() as stack:
            folder = file.parent / ".wrangler" / "origin-sdk" / str(port := free_port(port))
            if not keeps:
                shutil.rmtree(folder, ignore_errors=True)
            wrangler = stack.enter_context(
                _wrangler(
                    context, file, folder, port, variables, arguments or [], logs=has_requests, stack=stack
                )
            )
            running = [wrangler.process]
            if has_dashboard:
                board = start_dashboard(
                    folder,
                    wrangler,
                    port=dashboard_port,
                    cwd=file.parent,
                    config=file,
                    environment=environment,
                )
                running.append(stack.enter_context(board))
            _announce(wrangler, running)
            _watch(running, wrangler.process.log if has_requests else None)
    except ProcessError as error:
        raise InvalidRequest(str(error)) from error
    except KeyboardInterrupt:
        return


def _wrangler(
    context: Context,
    file: Path,
    folder: Path,
    port: int,
    variables: dict[str, str],
    arguments: list[str],
    *,
    logs: bool,
    stack: ExitStack,
) -> Wrangler:
    """Start the Worker: settings are checked and tools found before anything runs.

    Its shield, if it has one, runs beside it, and its configuration is gone with ``stack``.
    """
    declared = read_configuration(file, context.environment)
    if declared.problems:
        raise InvalidSettings(f"{declared.name}: {declared.problems[0]}")
    of_both = {**FOR_DEVELOPERS, **variables}
    variables = {**FOR_DEVELOPERS, **(LIVE_VARIABLES if logs else {}), **variables}
    for warning in warnings_of(file, context.environment, variables):
        context.warn(warning)
    if not is_checkout(file.parent):
        built(file)
    origin = variables.get("ORIGIN") or str(declared.variables.get("ORIGIN", ""))
    if not answers(origin):
        context.warn(f"nothing answers at {origin} yet: start the service")
    tools = _tools(context, file.parent)
    if shield := local_shield_config(
        declared_in(file), context.environment, of_both, _compatibility_flags(arguments)
    ):
        beside = file.with_name(f"{SHIELD_FILE.removesuffix('.json')}.{port}.json")
        stack.callback(beside.unlink, missing_ok=True)
        put(beside, shield.encode())
        arguments = [*arguments, "--config", str(beside)]
        context.note(f"misses go through the shield, {declared.shield_service}, which runs beside the Worker")
    context.note("starting the Worker: the first time downloads Pyodide, later it takes seconds")
    return Wrangler(
        folder,
        tools=tools,
        config=file,
        environment=context.environment,
        port=port,
        variables=variables,
        arguments=arguments,
    )


def _tools(context: Context, folder: Path) -> Tools:
    node = find_node()
    script = find_wrangler(folder)
    if script is None or not is_up_to_date(folder, script):
        if not (folder / "package.json").exists():
            raise InvalidSettings(
                f"wrangler is missing: in {folder}, "
                f"npm install --save-dev --save-exact wrangler@{WRANGLER_VERSION}"
            )
        context.note(f"installing wrangler into {folder / 'node_modules'}, once: some 230 MB")
        install_packages(folder, node)
        script = find_wrangler(folder)
    if script is None:
        raise InvalidSettings(f"{folder / 'package.json'} names no wrangler: add wrangler {WRANGLER_VERSION}")
    # The [build] command of wrangler.toml is this program.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return Tools(node, script, environment={"PATH": path})


def _announce(wrangler: Wrangler, running: list[Process]) -> None:
    for line in (*dashboards(running), f"ready: {wrangler.url}", *addresses(wrangler)):
        typer.echo(line)
    typer.echo(TRY_ANY.format(url=wrangler.url), nl=False)
    sys.stdout.flush()


def _watch(running: list[Process], log: Path | None) -> NoReturn:
    def show(line: str) -> None:
        typer.echo(line)
        sys.stdout.flush()

    watch(running, log, show)


def _compatibility_flags(arguments: Sequence[str]) -> Sequence[str]:
    """Return the compatibility flags among arguments of wrangler."""
    words = [part for each in arguments for part in each.split("=", 1)]
    return [
        flag for name, flag in pairwise(words) if name in {"--compatibility-flag", "--compatibility-flags"}
    ]


def _variable(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not name.isidentifier() or not colon:
        raise InvalidRequest(f"--var {text!r} is not a variable: write NAME:VALUE")
    return name, value
