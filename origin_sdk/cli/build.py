"""`origin-sdk build`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from origin_sdk._deployment.pins import PIN_FILE, pinned_version
from origin_sdk._deployment.shield_config import SHIELD_FILE, shield_config
from origin_sdk._deployment.worker_code import STAMP, Written, installed_version, write
from origin_sdk._values.errors import InvalidSettings
from origin_sdk._values.project import read_configuration
from origin_sdk.cli.context import AsJson, ConfigFile, Context, config_file
from origin_sdk.cli.screen import Screen, counted

__all__ = ["build", "built", "is_checkout", "placed", "put_shield"]

_MAIN = "worker/entry.py"


def build(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put the installed version's Worker beside the hooks of a project, for wrangler to take it up.

    wrangler runs this before each dev and deploy: it is the [build] command of wrangler.toml.
    """
    file = config_file(config)
    done = built(file)
    values = {"version": done.version, "before": done.before, "written": len(done.written)}
    Context(as_json=as_json).show(values, lambda screen: _draw(screen, done))


def built(config: Path) -> Written:
    """Build a project. Raises :class:`InvalidSettings` if it isn't one, or pins another version."""
    requirements = config.parent / PIN_FILE
    pinned = pinned_version(requirements.read_text(encoding="utf-8")) if requirements.exists() else ""
    if pinned and pinned != installed_version():
        raise InvalidSettings(
            f"{requirements} pins origin-sdk {pinned}, but {installed_version()} is installed: "
            f"pip install -r {requirements}, or move the project with `origin-sdk upgrade`"
        )
    return placed(config)


def placed(config: Path) -> Written:
    """Put the installed version's Worker into a project. Raises :class:`InvalidSettings` if it isn't one."""
    folder, main = config.parent, read_configuration(config).main
    if is_checkout(folder):
        raise InvalidSettings(f"{folder / 'worker'} is the source of the Worker: scripts/build builds it")
    if main != _MAIN:
        raise InvalidSettings(f"{config}: main = {main!r}, but the Worker is built at {_MAIN!r}")
    done = write(folder / "worker")
    put_shield(config)
    return done


def put_shield(config: Path) -> bool:
    """Write the shield's configuration beside ``wrangler.toml``, and remove one that is no longer wanted."""
    file, text = config.parent / SHIELD_FILE, shield_config(tomllib.loads(config.read_text(encoding="utf-8")))
    if text is None:
        file.unlink(missing_ok=True)
        return False
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
    return True


def is_checkout(folder: Path) -> bool:
    """Whether no build has put the Worker's code there: it is the source itself, as in its own repository."""
    worker = folder / "worker"
    return (worker / "origin_sdk_wire").exists() and not (worker / STAMP).exists()


def _draw(screen: Screen, done: Written) -> None:
    if not done.written and not done.removed:
        screen.print(f"the Worker of origin-sdk {done.version} is in place")
        return
    screen.print(
        f"the Worker of origin-sdk {done.version}: {counted(len(done.written), 'file')} written, "
        f"{len(done.removed)} removed"
    )
