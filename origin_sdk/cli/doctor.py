"""`origin-sdk doctor`."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import httpx
import typer

from origin_sdk._cloudflare.connections import tls
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.diagnosis import Finding, Grade
from origin_sdk._edge.live import Answer, Counted, Trial, try_live
from origin_sdk._edge.warmup import checked_url
from origin_sdk._values.errors import ConnectionFailed
from origin_sdk.cli.check import examined
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.count_sources import DebugSecret
from origin_sdk.cli.screen import Screen
from origin_sdk_wire.bounds import purge_bound_seconds
from origin_sdk_wire.exposition import merged_away

__all__ = ["doctor"]

_AGENT = "origin-sdk doctor"
_SECONDS = 30.0
_STYLES = {Grade.GOOD: "green", Grade.WARNING: "yellow", Grade.BAD: "red"}


def doctor(
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    write: Annotated[
        bool, typer.Option(help="Try the write permission with a key that lives a minute.")
    ] = True,
    live: Annotated[
        str,
        typer.Option(
            "--live",
            metavar="URL",
            help="Try a deployed Worker, too, by the public address of a response that may be stored: is it "
            "reached, does it store, how long do hits take, how soon is a purge seen. It purges that URL.",
        ),
    ] = "",
    debug_secret: DebugSecret = "",
    as_json: AsJson = False,
) -> None:
    """Examine wrangler.toml, token, namespace, the Worker's wire version, clock, and contradictions.

    Exits with 1 if there is a problem. Its authors haven't run --live against a real account.

        origin-sdk doctor --live https://api.example.com/products/17 --env production
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    url = checked_url(live) if live else ""
    findings = list(_of_configuration(context))
    if not any(finding.verdict is Grade.BAD for finding in findings):
        with context.unchecked_client() as client:
            findings += client.check(may_write=write)
            if url and not any(finding.verdict is Grade.BAD for finding in findings):
                findings += _live(context, client, url, debug_secret)
    context.show([finding.as_json() for finding in findings], lambda screen: _draw(screen, findings))
    if any(finding.verdict is Grade.BAD for finding in findings):
        raise typer.Exit(1)


def _live(context: Context, client: PurgeClient, url: str, secret: str) -> Iterator[Finding]:
    from origin_sdk.dashboard.route import MetricsRoute  # noqa: PLC0415 - only when it is asked for

    bound = purge_bound_seconds(context.project.mark_interval)
    context.note(f"trying {url}; seeing a purge may take {bound:.0f} s")
    fields = {"user-agent": _AGENT}
    with httpx.Client(timeout=_SECONDS, follow_redirects=False, headers=fields, verify=tls()) as asking:

        def ask() -> Answer:
            began = time.monotonic()
            try:
                response = asking.get(url)
            except httpx.HTTPError as error:
                raise ConnectionFailed(
                    f"{url} gave no answer: {str(error) or type(error).__name__}"
                ) from error
            return Answer(response.status_code, response.headers, time.monotonic() - began)

        def count() -> Counted:
            document = MetricsRoute(str(httpx.URL(url).join("/")), asking, secret.strip()).read()
            counts = document.total()
            requests, keys = (
                sum(cells[0] for cells in counts.cells(name)) for name in ("requests", "kv_keys")
            )
            return Counted(int(requests), int(keys), merged_away(document.isolates))

        yield from try_live(
            Trial(
                url,
                ask=ask,
                purge=lambda: client.purge(urls=[url], hard=True, reason="origin-sdk doctor --live"),
                count=count,
                pause=time.sleep,
                monotonic=time.monotonic,
                bound_seconds=bound,
            )
        )


def _of_configuration(context: Context) -> list[Finding]:
    """Hold wrangler.toml against the Worker's own validation, where there is one."""
    configuration = examined(context)
    if configuration is None:
        return []
    findings = [Finding(configuration.name, Grade.BAD, error) for error in configuration.errors]
    findings += [Finding(configuration.name, Grade.WARNING, warning) for warning in configuration.warnings]
    findings = findings or [Finding(configuration.name, Grade.GOOD, "the Worker can use its settings")]
    if not configuration.errors and (shield := context.project.shield_service):
        place = context.project.shield_placement
        told = f"misses go through the Worker {shield} ({place}): deploy both"
        findings.append(Finding("shield", Grade.GOOD, told))
    return findings


def _draw(screen: Screen, findings: Sequence[Finding]) -> None:
    for finding in findings:
        screen.print(f"{finding.verdict.value:8}", style=_STYLES[finding.verdict], end="")
        screen.print(f" {finding.check}: {finding.message}")
