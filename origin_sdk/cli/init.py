"""`origin-sdk init`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from origin_sdk._deployment.frameworks import FRAMEWORKS, guess, texts
from origin_sdk._deployment.project_files import Wishes, project_files, shared_files
from origin_sdk._deployment.worker_code import installed_version, starting_hooks
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.cli.context import AsJson, Context
from origin_sdk.cli.screen import Screen

__all__ = ["init"]

_QUESTION, _PRODUCTION = "The service's URL in production", "https://origin.example.com"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,52}[a-z0-9])?")  # a Worker's name, with room for -staging
_URL = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?|https?://\[[0-9a-f:.]+\](?::[0-9]{1,5})?/?"
)
_TEMPLATE = re.compile(r"https://git(?:hub|lab)\.com(?:/[A-Za-z0-9_.-]+){2,}")


@dataclass(frozen=True, slots=True)
class _Made:
    """What was done: the project's folder, its framework, and the files by what became of them."""

    folder: Path
    framework: str
    written: tuple[str, ...]
    overwritten: tuple[str, ...]
    kept: tuple[str, ...]


def init(
    folder: Annotated[Path, typer.Argument(help="Where the project goes.", show_default=True)] = Path("edge"),
    framework: Annotated[
        Literal["django", "fastapi", "flask", "none"] | None,
        typer.Option("--framework", help="What the service is made with. Default: what its files import."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="The Worker's name. Default: that of this folder, and -edge.")
    ] = "",
    origin: Annotated[
        str,
        typer.Option("--origin", help="The service on this machine. Default: at its framework's port."),
    ] = "",
    production_origin: Annotated[
        str, typer.Option("--production-origin", help="The service that the Worker asks in production.")
    ] = "",
    ci: Annotated[
        Literal["github", "gitlab", "none"] | None,
        typer.Option(
            "--ci", help="Whose workflows to write. Default: by the repository's remote, else github."
        ),
    ] = None,
    template_url: Annotated[
        str,
        typer.Option(
            "--template",
            metavar="URL",
            help="Make a template that is published at this address of GitHub or GitLab: for Cloudflare's "
            "deploy button, and npm create cloudflare.",
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that are there, and name them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a project that deploys the edge cache, in a folder beside your service.

    It holds settings, rules and hooks of your own; the Worker's code comes from the installed version.
    Nothing that is there is overwritten without --force. At a terminal it asks for the origin in production.
    """
    context = Context(as_json=as_json)
    service = Path.cwd()
    # A folder above may be given, or this one: files of the repository go to where the service is.
    inside = (
        folder.absolute().relative_to(service)
        if folder.absolute().is_relative_to(service)
        else Path(folder.name)
    )
    chosen = FRAMEWORKS[framework] if framework else guess(texts(service))
    wishes = Wishes(
        name=_checked(name or _worker_name(service.name)),
        folder=inside.as_posix(),
        framework=chosen,
        version=installed_version(),
        origin=_url("--origin", origin or f"http://127.0.0.1:{chosen.port}"),
        production_origin=_url(
            "--production-origin", production_origin or context.ask(_QUESTION, _PRODUCTION)
        ),
        ci="none" if template_url else ci or _ci(service),
        template_url=_template_url(template_url),
    )
    planned = {folder / path: text for path, text in project_files(wishes, starting_hooks()).items()}
    planned |= {Path(path): text for path, text in shared_files(wishes).items()}
    try:
        made = _made(folder, wishes, planned, force=force)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"{folder} can't hold a project: {reason}; name another folder") from error
    values = {
        "folder": str(made.folder),
        "framework": made.framework,
        "written": list(made.written),
        "overwritten": list(made.overwritten),
        "kept": list(made.kept),
    }
    context.show(values, lambda screen: _draw(screen, made))


def _made(folder: Path, wishes: Wishes, planned: Mapping[Path, str], *, force: bool) -> _Made:
    """Write what isn't there, and with ``force`` what is there otherwise; what is there like that stays."""
    missing = [path for path in planned if not path.exists()]
    others = [path for path in planned if path not in missing and path.read_text("utf-8") != planned[path]]
    written = [*missing, *(others if force else ())]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planned[path], encoding="utf-8")
    return _Made(
        folder,
        wishes.framework.name,
        written=tuple(map(str, missing)),
        overwritten=tuple(map(str, others if force else ())),
        kept=tuple(map(str, () if force else others)),
    )


def _draw(screen: Screen, made: _Made) -> None:
    for path in made.written:
        screen.print(f"written: {path}")
    for path in made.overwritten:
        screen.print(f"overwritten: {path}", style="yellow")
    for path in made.kept:
        screen.print(f"kept: {path} is there already; --force overwrites it", style="yellow")
    found = "no framework was recognised" if made.framework == "none" else f"for {made.framework}"
    screen.print(f"{found}; {made.folder / 'README.md'} says what to add to the service. Next:")
    screen.print("  origin-sdk dev")


def _worker_name(folder: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:48].strip("-")
    return f"{plain or 'api'}-edge"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"--name {name!r} can't be a Worker's: write a-z, 0-9 and -, at most 54 characters"
        )
    return name


def _url(option: str, text: str) -> str:
    """Return a URL that stands in the files as it is."""
    if not _URL.fullmatch(text):
        raise InvalidRequest(f"{option} {text!r} is not an origin: write one like https://origin.example.com")
    return text.rstrip("/")


def _template_url(url: str) -> str:
    """Return the address of a template's repository: the button takes none but these two hosts."""
    if url and not _TEMPLATE.fullmatch(url):
        raise InvalidRequest(
            f"--template {url!r} is no public repository of GitHub or GitLab: write one like "
            "https://github.com/you/edge-cache-template"
        )
    return url


def _ci(service: Path) -> Literal["github", "gitlab"]:
    """Return whose workflows the repository runs: that of its remote, else GitHub's."""
    git = service / ".git" / "config"
    is_gitlab = (service / ".gitlab-ci.yml").exists() or (
        git.is_file() and "gitlab" in git.read_text("utf-8")
    )
    return "gitlab" if is_gitlab else "github"
