"""`origin-sdk upgrade`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from origin_sdk._deployment.changelog import changelog
from origin_sdk._deployment.pins import (
    changes_between,
    pinned_version,
    with_compatibility_date,
    with_version,
    with_wrangler,
)
from origin_sdk._deployment.worker_code import installed_version
from origin_sdk._values.errors import InvalidSettings
from origin_sdk._values.project import read_configurations
from origin_sdk.cli.build import built
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
    requirements = folder / "origin-sdk.txt"
    _text(file)  # before anything is changed
    before = pinned_version(_text(requirements))
    if not before:
        raise InvalidSettings(f"{requirements} pins no origin-sdk: write origin-sdk[cli]=={version}")
    moved = [
        path.name
        for path, change in (
            (requirements, lambda text: with_version(text, version)),
            (folder / "package.json", with_wrangler),
            (file, with_compatibility_date),
        )
        if _changed(path, change)
    ]
    done = built(file)
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


def _changed(path: Path, change: Callable[[str], str]) -> bool:
    try:
        text = _text(path)
    except InvalidSettings as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    changed = change(text)
    if changed != text:
        path.write_text(changed, encoding="utf-8")
    return changed != text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} can't be read: {error}; give --config FILE") from error


def _draw(screen: Screen, values: Mapping[str, object], results: Sequence[Checked]) -> None:
    before, version, moved = values["before"], values["version"], values["moved"]
    if before == version:
        screen.print(f"this project is of origin-sdk {version}, the installed version")
    else:
        screen.print(f"moved from origin-sdk {before} to {version}: {', '.join(map(str, moved))}")  # type: ignore[call-overload]
    if values["changes"]:
        screen.print(values["changes"])
    for each in results:
        for problem in (*each.errors, *each.warnings):
            screen.print(f"look at: {each.name}: {problem}", style="yellow")
