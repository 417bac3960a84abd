"""`origin-sdk check`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import typer

from origin_sdk._values.brotli import INSTALL, brotli_module
from origin_sdk._values.project import Configuration, read_configuration, read_configurations
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment, config_file
from origin_sdk.cli.screen import Screen, counted
from origin_sdk_wire.choices import PublishCoding
from origin_sdk_wire.config import problems
from origin_sdk_wire.settings import Settings

__all__ = ["Checked", "check", "checked", "examined"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the Worker would say of one environment's settings when it starts."""

    name: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {"environment": self.name, "errors": list(self.errors), "warnings": list(self.warnings)}


def check(
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Check wrangler.toml with the Worker's own validation before a deploy. Works offline.

    Every environment is checked, or the one that --env names. Exits with 1 if the Worker would refuse its
    settings.
    """
    file = config_file(config)
    chosen = [read_configuration(file, environment)] if environment else read_configurations(file)
    results = [checked(each) for each in chosen]
    Context(as_json=as_json).show([each.as_json() for each in results], lambda screen: _draw(screen, results))
    if any(each.errors for each in results):
        raise typer.Exit(1)


def checked(configuration: Configuration) -> Checked:
    """Check one environment's settings."""
    found = problems(configuration.variables, has_secrets=False, secrets=configuration.secrets)
    errors = [*found.errors, *configuration.problems]
    return Checked(configuration.name, tuple(errors), (*found.warnings, *_missing(found.settings)))


def _missing(settings: Settings | None) -> Iterator[str]:
    """Say what the settings want of this machine and it hasn't got."""
    if settings and settings.publish_coding is PublishCoding.BR and brotli_module() is None:
        yield f"PUBLISH_CODING = br: without Brotli, what is published from here is gzip; {INSTALL}"


def examined(context: Context) -> Checked | None:
    """Check the environment that a command works on; ``None`` if there is no wrangler.toml."""
    file = config_file(context.config)
    if context.config is None and not file.exists():
        return None
    return checked(read_configuration(file, context.environment))


def _draw(screen: Screen, results: Sequence[Checked]) -> None:
    for each in results:
        for error in each.errors:
            screen.print("problem ", style="red", end="")
            screen.print(f" {each.name}: {error}")
        for warning in each.warnings:
            screen.print("warning ", style="yellow", end="")
            screen.print(f" {each.name}: {warning}")
        if not each.errors and not each.warnings:
            screen.print("ok      ", style="green", end="")
            screen.print(f" {each.name}")
    if errors := sum(len(each.errors) for each in results):
        screen.print(
            f"{counted(errors, 'problem')}: with these settings the Worker answers 500 to everything."
        )
