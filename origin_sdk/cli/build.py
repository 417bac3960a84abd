"""`origin-sdk build`."""

from __future__ import annotations

from pathlib import Path

from origin_sdk._deployment.pins import PIN_FILE, pinned_version
from origin_sdk._deployment.shield_config import put_shield
from origin_sdk._deployment.worker_code import STAMP, Written, installed_version, write
from origin_sdk._values.errors import InvalidSettings
from origin_sdk._values.project import read_configuration
from origin_sdk.cli.context import AsJson, ConfigFile, Context, config_file
from origin_sdk.cli.screen import Screen, counted

__all__ = ["build", "built", "is_checkout", "pinned_in", "placed", "text_of"]

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
    _check(config)
    requirements, installed = config.parent / PIN_FILE, installed_version()
    if (pinned := pinned_in(requirements)) != installed:
        raise InvalidSettings(
            f"{requirements} pins origin-sdk {pinned}, but {installed} is installed: "
            f"pip install -r {requirements}, or move the project with `origin-sdk upgrade`"
        )
    return placed(config)


def pinned_in(requirements: Path) -> str:
    """Return the version that a project is of. Raises :class:`InvalidSettings` if nothing says so."""
    pinned = pinned_version(text_of(requirements)) if requirements.exists() else ""
    if not pinned:
        raise InvalidSettings(
            f"{requirements} pins no origin-sdk: write origin-sdk[cli]=={installed_version()}"
        )
    return pinned


def text_of(path: Path) -> str:
    """Return a file with the line ends that it has. Raises :class:`InvalidSettings` if it isn't text."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InvalidSettings(
            f"{path} can't be read: {error.strerror}; make it a file of this user's"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path} can't be read: {error}; save it as UTF-8") from error


def placed(config: Path) -> Written:
    """Put the installed version's Worker into a project. Raises :class:`InvalidSettings` if it isn't one."""
    _check(config)
    folder = config.parent
    hooks = folder / "worker" / "hooks.py"
    done = write(folder / "worker")
    if not hooks.is_file():
        raise InvalidSettings(
            f"{hooks} is missing, which the Worker imports: take it from the repository, or let "
            f"`origin-sdk init {folder}` write the one to start with; it keeps what is there"
        )
    put_shield(config)
    return done


def _check(config: Path) -> None:
    """Raise :class:`InvalidSettings` for what isn't a project."""
    folder, main = config.parent, read_configuration(config).main
    if is_checkout(folder):
        raise InvalidSettings(f"{folder / 'worker'} is the source of the Worker: scripts/build builds it")
    if main != _MAIN:
        raise InvalidSettings(f"{config}: main = {main!r} isn't where the Worker is built: write {_MAIN!r}")


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
