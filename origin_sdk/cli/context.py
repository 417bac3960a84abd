"""What all commands share: options, the client, and how a command ends."""

import errno
import getpass
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from origin_sdk._deployment.pins import PIN_FILE
from origin_sdk._values.errors import AuthenticationFailed, InvalidRequest, NamespaceNotFound, OriginSdkError
from origin_sdk._values.project import DEFAULT_PROJECT, Project, read_project
from origin_sdk._values.receipt import PartialPurgeError
from origin_sdk.cli.screen import Screen, as_json

if TYPE_CHECKING:
    from origin_sdk._cloudflare.effects import Progress
    from origin_sdk._edge.client import PurgeClient

__all__ = [
    "EXIT_CODES",
    "AsJson",
    "BaseUrl",
    "ConfigFile",
    "Context",
    "Environment",
    "Interrupted",
    "NamespaceId",
    "config_file",
    "exit_code",
    "interruptible",
    "is_of_files",
    "is_of_output",
    "report_error",
    "report_files",
    "report_interruption",
    "report_output",
    "report_unexpected",
]

_CONFIG = Path("wrangler.toml")
_CONFIG_BESIDE = Path("edge/wrangler.toml")
"""Where `origin-sdk init` puts it, seen from the service."""
_LOCATION = "Location"
_TRACEBACK = "ORIGIN_SDK_TRACEBACK"

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "some of it failed, or a problem was found",
    2: "invalid usage: an option, a URL, a setting",
    3: "Cloudflare refused: the token, the account, the namespace",
    4: "Cloudflare, a store or the network failed, or the timeout expired",
    70: "a bug in this program",
    130: "interrupted by Ctrl-C",
}

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The Worker's wrangler.toml: rules, namespace, intervals. Default: ./wrangler.toml, else "
        "./edge/wrangler.toml.",
        rich_help_panel=_LOCATION,
    ),
]
Environment: TypeAlias = Annotated[
    str,
    typer.Option(
        "--env",
        help="An environment of wrangler.toml, like wrangler's --env. Default: CLOUDFLARE_ENV, else none.",
        envvar="CLOUDFLARE_ENV",
        show_envvar=False,
        rich_help_panel=_LOCATION,
    ),
]
NamespaceId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        help="KV namespace id. Default: EDGE_CACHE_NAMESPACE_ID, then --config.",
        rich_help_panel=_LOCATION,
    ),
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="The KV REST API, such as the one that `origin-sdk dev` prints. "
        "Default: CLOUDFLARE_API_BASE_URL, then Cloudflare's own.",
        rich_help_panel=_LOCATION,
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print only JSON to standard output.")]


def config_file(given: Path | None) -> Path:
    """Return the wrangler.toml that is given, else the one here, else that of the project in `edge/`.

    One here that isn't of a project, but of some other Worker, doesn't hide the project.
    """
    is_here = _CONFIG.exists() and (
        Path(PIN_FILE).exists() or not (_CONFIG_BESIDE.parent / PIN_FILE).exists()
    )
    return given or (_CONFIG_BESIDE if _CONFIG_BESIDE.exists() and not is_here else _CONFIG)


@dataclass(frozen=True)
class Context:
    """One run of a command."""

    config: Path | None = None
    environment: str = ""
    namespace_id: str | None = None
    base_url: str | None = None
    as_json: bool = False

    @property
    def project(self) -> Project:
        """What wrangler.toml says; nothing if none is named and none is here."""
        file = config_file(self.config)
        if self.config is None and not file.exists():
            if self.environment:
                raise InvalidRequest(
                    f"--env {self.environment}: there is no {file} in this folder; name it with --config"
                )
            return DEFAULT_PROJECT
        return read_project(file, self.environment)

    @contextmanager
    def client(self, timeout: float | None = None) -> Iterator["PurgeClient"]:
        """Open a client of a namespace that is there, as far as a local API knows."""
        with self.unchecked_client(timeout) as client:
            client.require_namespace()
            yield client

    @contextmanager
    def unchecked_client(self, timeout: float | None = None) -> Iterator["PurgeClient"]:
        """Open a client; the actor is the user that runs the command, unless EDGE_CACHE_ACTOR is set."""
        # Here, since a command that needs no client starts in half of the time without one.
        from origin_sdk._edge.client import PurgeClient  # noqa: PLC0415
        from origin_sdk._edge.operations import resolved  # noqa: PLC0415
        from origin_sdk._edge.options import Options  # noqa: PLC0415

        given = {"namespace_id": self.namespace_id, "base_url": self.base_url}
        settings, project = resolved(None, self.project, given)
        if not settings.actor:
            settings, project = resolved(None, project, {**given, "actor": _user()})
        with PurgeClient(settings, project=project, options=Options(timeout=timeout)) as client:
            yield client

    def show(self, values: object, draw: Callable[[Screen], None]) -> None:
        """Print ``values`` as JSON, or let ``draw`` tell a person."""
        if self.as_json:
            typer.echo(as_json(values))
        else:
            draw(Screen())

    def warn(self, message: str) -> None:
        """Tell a person, on standard error, about something that doesn't stop the command."""
        if not self.as_json:
            Screen(stderr=True).print(f"warning: {message}", style="yellow")

    def note(self, message: str) -> None:
        """Tell a person, on standard error, what goes on."""
        if not self.as_json:
            Screen(stderr=True).print(message, style="dim")

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[["Progress"], None] | None]:
        """Show a bar on standard error while work goes on, where a person is watching."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        from rich.progress import (  # noqa: PLC0415 - slow to import, and of use to persons alone
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bar  # noqa: PLC0415

        columns = (SpinnerColumn(), TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Screen(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda progress: bar.update(task, completed=progress.done, total=progress.total or total)

    def confirm(self, question: str) -> None:
        """Ask a person. Where nobody can be asked, the command has to say ``--yes``."""
        if self.as_json or not sys.stdin.isatty():
            raise InvalidRequest(f"{question} There is no terminal to confirm it: pass --yes if you mean it")
        with interruptible(lambda: "nothing is done"), _prompting():
            if not typer.confirm(question, err=True):
                raise typer.Abort

    def ask(self, question: str, default: str) -> str:
        """Ask a person; where nobody can be asked, the default is the answer."""
        if self.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return default
        with interruptible(lambda: "nothing is done"), _prompting():
            told: str = typer.prompt(question, default=default, err=True)
            return told


class Interrupted(Exception):
    """Ctrl-C ended a command; the message says what was done."""


@contextmanager
def interruptible(done: Callable[[], str]) -> Iterator[None]:
    """Say what is done by then, where Ctrl-C ends the block."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(done()) from interrupt


@contextmanager
def _prompting() -> Iterator[None]:
    """Tell Ctrl-C at a question from the end of input."""
    try:
        yield
    except typer.Abort as abort:
        # Typer makes one of Ctrl-C, and of the end of input.
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from abort
        raise


def _user() -> str:
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a container's user may have no name
        return platform.node()


def exit_code(error: OriginSdkError) -> int:
    """Return the exit code that tells scripts whose fault it is."""
    match error:
        case PartialPurgeError():
            return 1
        case InvalidRequest():
            return 2
        case AuthenticationFailed() | NamespaceNotFound():
            return 3
    return 4


def report_error(error: OriginSdkError, *, as_json: bool) -> None:
    """Say what went wrong, without a traceback."""
    values: dict[str, Any] = {}
    if isinstance(error, PartialPurgeError):
        values = {"receipt": error.receipt.as_json(), "remaining": error.remaining.as_json()}
    _report(type(error).__name__, str(error), values, as_json=as_json)


_OF_FILES = frozenset(
    {errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)


def is_of_files(error: OSError) -> bool:
    """Whether a file or a folder can't be used; what has no name is the working folder, which is gone."""
    return error.errno in _OF_FILES and (error.filename is not None or error.errno == errno.ENOENT)


def report_files(error: OSError, *, as_json: bool) -> None:
    """Say which file or folder can't be used."""
    _show_traceback(error)
    place = error.filename or "the working folder"
    message = f"{place}: {error.strerror}; give this user the right to it, or work in another folder"
    _report("Unusable", message, {}, as_json=as_json)


def report_unexpected(error: Exception, *, as_json: bool) -> None:
    """Say that this program failed, and how to see where."""
    _show_traceback(error)
    message = f"unexpected {type(error).__name__}: {error}; set {_TRACEBACK}=1 to see where, and report it"
    _report("Unexpected", message, {}, as_json=as_json)


def _show_traceback(error: Exception) -> None:
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(error)


def report_interruption(interruption: Interrupted, *, as_json: bool) -> None:
    """Say what was done before Ctrl-C."""
    done = str(interruption)
    _report("Interrupted", f"interrupted: {done}" if done else "interrupted", {}, as_json=as_json)


_NOT_WRITTEN = frozenset(
    {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE, errno.EROFS}
)


def is_of_output(error: OSError) -> bool:
    """Whether standard output or standard error took no more: nothing else is written without a name."""
    return error.filename is None and error.errno in _NOT_WRITTEN


def report_output(error: OSError) -> None:
    """Say that the output can't be written, unless its reader left; then let nothing more be tried."""
    if error.errno != errno.EPIPE:
        with suppress(OSError):
            Screen(stderr=True).print(
                f"error: the output can't be written: {error.strerror}; what was done until then is done",
                style="red",
            )
    # What is still in the buffers would fail again at the interpreter's end.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _report(kind: str, message: str, values: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(_error_json({"error": {"type": kind, "message": message}, **values}))
        return
    screen = Screen(stderr=True)
    first, *others = message.splitlines() or [""]
    screen.print(f"error: {first}", style="red")
    for line in others:
        screen.print(f"  {line.strip()}", style="red")


def _error_json(values: Mapping[str, Any]) -> str:
    return as_json(values)
