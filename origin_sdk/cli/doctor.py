"""`origin-sdk doctor`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from origin_sdk._edge.diagnosis import Finding, Grade
from origin_sdk.cli.check import examined
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.screen import Screen

__all__ = ["doctor"]

_STYLES = {Grade.GOOD: "green", Grade.WARNING: "yellow", Grade.BAD: "red"}


def doctor(
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    write: Annotated[
        bool, typer.Option(help="Try the write permission with a key that lives a minute.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Examine wrangler.toml, token, namespace, the Worker's wire version, clock, and contradictions.

    Exits with 1 if there is a problem.
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    findings = list(_of_configuration(context))
    if not any(finding.verdict is Grade.BAD for finding in findings):
        with context.unchecked_client() as client:
            findings += client.check(may_write=write)
    context.show([finding.as_json() for finding in findings], lambda screen: _draw(screen, findings))
    if any(finding.verdict is Grade.BAD for finding in findings):
        raise typer.Exit(1)


def _of_configuration(context: Context) -> list[Finding]:
    """Hold wrangler.toml against the Worker's own validation, where there is one."""
    configuration = examined(context)
    if configuration is None:
        return []
    findings = [Finding(configuration.name, Grade.BAD, error) for error in configuration.errors]
    findings += [Finding(configuration.name, Grade.WARNING, warning) for warning in configuration.warnings]
    return findings or [Finding(configuration.name, Grade.GOOD, "the Worker can use its settings")]


def _draw(screen: Screen, findings: Sequence[Finding]) -> None:
    for finding in findings:
        screen.print(f"{finding.verdict.value:8}", style=_STYLES[finding.verdict], end="")
        screen.print(f" {finding.check}: {finding.message}")
