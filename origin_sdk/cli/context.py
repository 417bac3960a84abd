"""What all commands share: options, the client, and the way to the screen."""

import getpass
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from origin_sdk.base import Options, resolved
from origin_sdk.client import PurgeClient
from origin_sdk.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NamespaceNotFound,
    OriginSdkError,
    PartialPurgeError,
)
from origin_sdk.project import DEFAULT_PROJECT, Project, read_project
from origin_sdk.steps import Progress

__all__ = [
    "EXIT_CODES",
    "AsJson",
    "BaseUrl",
    "ConfigFile",
    "Context",
    "NamespaceId",
    "counted",
    "exit_code",
    "read_text",
    "report_error",
    "table",
]

_CONFIG = Path("wrangler.toml")
_LOCATION = "Where the cache is"

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "not all of it is done, or a problem was found",
    2: "the command can't be: an option, a URL, a setting",
    3: "Cloudflare refuses: the token, the account, the namespace",
    4: "Cloudflare or the network fails, or the time is over",
}

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The Worker's wrangler.toml: rules, namespace, intervals. Default: the one in this "
        "folder, if any.",
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
        help="The API before /storage, such as that of wrangler dev: "
        "http://127.0.0.1:8787/cdn-cgi/local/explorer/api. "
        "Default: CLOUDFLARE_API_BASE_URL, then Cloudflare's own.",
        rich_help_panel=_LOCATION,
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")
]


@dataclass(frozen=True)
class Context:
    """One run of a command."""

    config: Path | None
    namespace_id: str | None
    base_url: str | None
    as_json: bool

    @property
    def project(self) -> Project:
        """What wrangler.toml says; nothing if none is named and none is here."""
        if self.config is None and not _CONFIG.exists():
            return DEFAULT_PROJECT
        return read_project(self.config or _CONFIG)

    @contextmanager
    def client(self, timeout: float | None = None) -> Iterator[PurgeClient]:
        """Open a client; who runs the command is who purges, unless EDGE_CACHE_ACTOR says otherwise."""
        given = {"namespace_id": self.namespace_id, "base_url": self.base_url}
        settings, project = resolved(None, self.project, given)
        if not settings.actor:
            settings, project = resolved(None, project, {**given, "actor": _user()})
        with PurgeClient(settings, project=project, options=Options(timeout=timeout)) as client:
            yield client

    def show(self, values: object, draw: Callable[[Console], None]) -> None:
        """Print ``values`` as JSON, or let ``draw`` say it to a person."""
        if self.as_json:
            typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
        else:
            draw(Console(soft_wrap=True, highlight=False))

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[Progress], None] | None]:
        """Show a bar on standard error while work goes on, where a person is watching."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        columns = (SpinnerColumn(), TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda progress: bar.update(task, completed=progress.done, total=progress.total or None)

    def confirm(self, question: str) -> None:
        """Ask a person; a script has decided by running the command."""
        if not self.as_json and sys.stdin.isatty():
            typer.confirm(question, abort=True, err=True)


def _user() -> str:
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a container's user may have no name
        return platform.node()


def read_text(path: str) -> str:
    """Read a file, or standard input for ``-``; raises :class:`InvalidRequest`."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} can't be read: {error}") from error


def counted(count: int, noun: str) -> str:
    """Return ``1 key``, ``2 keys``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(*columns: str) -> Table:
    """Return an empty table as all commands draw them."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


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
    if not as_json:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            "error:", str(error), style="red", markup=False
        )
        return
    values: dict[str, Any] = {"error": {"type": type(error).__name__, "message": str(error)}}
    if isinstance(error, PartialPurgeError):
        values |= {"receipt": error.receipt.as_json(), "remaining": error.remaining.as_json()}
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
