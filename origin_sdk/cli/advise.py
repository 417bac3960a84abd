"""`origin-sdk advise`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import httpx
import typer

from origin_sdk._cloudflare.connections import tls
from origin_sdk.advice.evidence import Evidence, of_replay
from origin_sdk.advice.findings import Advice, advice_of
from origin_sdk.advice.trial import tried
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment
from origin_sdk.cli.screen import Screen, counted
from origin_sdk.cli.simulate import BaseUrl, LogFormat, Mapped, Responses, bar, mapping_of, variables_of
from origin_sdk.dashboard.route import MetricsRoute
from origin_sdk.errors import InvalidRequest
from origin_sdk.simulation.accesslog import AccessLog
from origin_sdk.simulation.assumptions import Assumptions, parse_response_fields
from origin_sdk.simulation.replay import Replay
from origin_sdk.simulation.what_if import NOW, settings_of, varied
from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.exposition import Document, parse_document

__all__ = ["advise"]

_SHOWN = 10


def advise(
    log: Annotated[
        str, typer.Argument(help="An access log, as `origin-sdk simulate` reads it. Or give --metrics.")
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", help="The Worker's address, or a file with what its metrics route answered."
        ),
    ] = "",
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            help="Its DEBUG_SECRET, better set in the environment.",
            envvar="EDGE_CACHE_DEBUG_SECRET",
            show_envvar=True,
        ),
    ] = "",
    log_format: LogFormat = "",
    mapped: Mapped = None,
    responses: Responses = None,
    base_url: BaseUrl = "https://localhost",
    locations: Annotated[int, typer.Option("--locations", min=1, help="Cloudflare locations.")] = 1,
    isolates: Annotated[int, typer.Option("--isolates", min=1, help="Isolates at each.")] = 1,
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Say what to change, by what the Worker counted or by an access log, and what it would bring.

    Each piece of advice has its evidence and a setting to paste. With a log, what a setting brings is
    measured by replaying the log with it.

        origin-sdk advise access.log --base-url https://api.example.com
        origin-sdk advise --metrics https://api.example.com
    """
    if bool(log) == bool(metrics):
        raise InvalidRequest(
            "nothing to advise on: give an access log, or --metrics with the Worker's address"
        )
    context = Context(config, environment, as_json=as_json)
    if metrics:
        advice = advice_of(_of_metrics(metrics, secret, context))
    else:
        assumptions = Assumptions(
            locations=locations,
            isolates=isolates,
            base_url=base_url,
            responses=[parse_response_fields(each) for each in responses or ()],
        )
        advice = _of_log(AccessLog(log, log_format, mapping_of(mapped or ())), assumptions, context)
    context.show([asdict(each) for each in advice], lambda screen: _draw(screen, advice))


def _of_log(log: AccessLog, assumptions: Assumptions, context: Context) -> list[Advice]:
    variables = variables_of(context)
    replay = Replay(log, varied(variables, ()), assumptions)
    with bar(context, f"replaying {log.place}") as on_progress:
        replay.run(on_progress)
    advice = advice_of(of_replay(replay))
    with bar(context, "trying advice") as on_progress:
        return tried(advice, replay, variables, on_progress)


def _of_metrics(place: str, secret: str, context: Context) -> Evidence:
    document = _read(place, secret)
    began = min((isolate.started_ms for isolate in document.isolates), default=document.made_ms)
    seconds = max(1.0, (document.made_ms - began) / 1000)
    return Evidence(document.total(), seconds, settings_of(variables_of(context), NOW))


def _read(place: str, secret: str) -> Document:
    if place.startswith(("http://", "https://")):
        with httpx.Client(verify=tls()) as client:
            return MetricsRoute(place, client, secret).read()
    try:
        return parse_document(Path(place).read_bytes())
    except OSError as error:
        raise InvalidRequest(f"--metrics {place}: can't be read: {error.strerror or error}") from error
    except UnreadableMetrics as error:
        raise InvalidRequest(f"--metrics {place}: {error}") from error


def _draw(screen: Screen, advice: Sequence[Advice]) -> None:
    if not advice:
        screen.print("Nothing to change, by what was counted.", style="green")
        return
    for number, each in enumerate(advice[:_SHOWN], 1):
        screen.print(f"{number}. {each.title}", style="bold")
        screen.print(f"   {each.evidence}")
        for line in each.snippet.splitlines():
            screen.print(f"       {line}", style="cyan")
        if each.gain:
            screen.print(f"   → {each.gain}", style="green")
    if len(advice) > _SHOWN:
        screen.print(f"{counted(len(advice) - _SHOWN, 'piece')} of advice more (--json has all)")
