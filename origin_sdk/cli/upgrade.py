"""`origin-sdk upgrade`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from origin_sdk._deployment.changelog import changelog
from origin_sdk._deployment.pins import (
    PIN_FILE,
    changes_between,
    is_older,
    with_compatibility_date,
    with_version,
    with_wrangler,
)
from origin_sdk._deployment.shield_config import put_shield
from origin_sdk._deployment.worker_code import installed_version, put
from origin_sdk._values.errors import InvalidSettings
from origin_sdk._values.project import read_configurations
from origin_sdk.cli.build import pinned_in, placed, text_of
from origin_sdk.cli.check import Checked, checked
from origin_sdk.cli.context import AsJson, ConfigFile, Context, config_file
from origin_sdk.cli.screen import Screen

__all__ = ["upgrade"]


def upgrade(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Move a project to the installed version of origin-sdk, and say what changed.

    It changes the pin in origin-sdk.txt, wrangler's in package.json and the compatibility date, puts the
    new Worker's code in place, and checks the settings. Hooks, rules and settings stay as they are.
    """
    file = config_file(config)
    folder, version = file.parent, installed_version()
    requirements = folder / PIN_FILE
    read_configurations(file)  # before anything is changed
    before = _pinned(requirements, version)
    done = placed(file)
    moved = [
        path.name
        for path, change in (
            (folder / "package.json", with_wrangler),
            (file, with_compatibility_date),
            # Last: until then a run that was interrupted is told again from where it began.
            (requirements, lambda text: with_version(text, version)),
        )
        if _changed(path, change)
    ]
    put_shield(file)  # of the date that it has now
    changes = changes_between(changelog(), before, version)
    results = [checked(each) for each in read_configurations(file)]
    values = {
        "before": before,
        "version": version,
        "moved": moved,
        "written": list(done.written),
        "removed": list(done.removed),
        "changes": changes,
        "problems": [each.as_json() for each in results if each.errors or each.warnings],
    }
    Context(as_json=as_json).show(values, lambda screen: _draw(screen, values, results))


def _pinned(requirements: Path, version: str) -> str:
    """Return the version that a project is of. Raises :class:`InvalidSettings` if that isn't to be left."""
    before = pinned_in(requirements)
    if is_older(version, before):
        raise InvalidSettings(
            f"{requirements} pins origin-sdk {before}, and the older {version} is installed: pip install -r "
            f"{requirements}; to go back, write origin-sdk[cli]=={version} there"
        )
    return before


def _changed(path: Path, change: Callable[[str], str]) -> bool:
    try:
        text = text_of(path)
    except InvalidSettings as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    changed = change(text)
    if changed != text:
        put(path, changed.encode())
    return changed != text


def _draw(screen: Screen, values: Mapping[str, object], results: Sequence[Checked]) -> None:
    before, version, moved = values["before"], values["version"], cast("list[str]", values["moved"])
    if before == version:
        screen.print(f"this project uses origin-sdk {version}, the installed version")
    else:
        screen.print(f"moved from origin-sdk {before} to {version}")
    if moved:
        screen.print(f"changed: {', '.join(moved)}")
    for line in cast("str", values["changes"]).splitlines():
        screen.print(line)
    for each in results:
        for problem in (*each.errors, *each.warnings):
            screen.print(f"look at: {each.name}: {problem}", style="yellow")
