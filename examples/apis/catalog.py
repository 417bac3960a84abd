"""The examples by name."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.apis import ads, feed, graphql, telemetry, tenants

__all__ = ["APPS", "readme_of", "settings_of", "variables_of"]

_FOLDER = Path(__file__).parent

APPS = {
    "ads": ads.app,
    "feed": feed.app,
    "graphql": graphql.app,
    "telemetry": telemetry.app,
    "tenants": tenants.app,
}


def variables_of(name: str) -> Mapping[str, Any]:
    """Return the Worker's variables for an example: those of its ``edge.toml``."""
    variables: Mapping[str, Any] = tomllib.loads(settings_of(name))["vars"]
    return variables


def settings_of(name: str) -> str:
    """Return an example's ``edge.toml``."""
    return (_FOLDER / name / "edge.toml").read_text(encoding="utf-8")


def readme_of(name: str) -> str:
    """Return an example's README."""
    return (_FOLDER / name / "README.md").read_text(encoding="utf-8")
