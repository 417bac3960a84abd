"""`origin-sdk init`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from origin_sdk._deployment.frameworks import FRAMEWORKS, guess, requirements_of, sources_of
from origin_sdk._deployment.project_files import Wishes, project_files, shared_files
from origin_sdk._deployment.worker_code import installed_version, put, starting_hooks
from origin_sdk._deployment.workflows import WORKFLOWS, folder_of, workflow_for
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk._values.project import read_configurations, worker_names
from origin_sdk.cli.context import AsJson, Context
from origin_sdk.cli.screen import Screen

__all__ = ["init"]

_QUESTION, _PRODUCTION = "The service's URL in production", "https://origin.example.com"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_MOST_OF_NAME = 54  # with room for -staging
_MOST_OF_SHIELDED_NAME = _MOST_OF_NAME - len("-shield")
_URL = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?|https?://\[[0-9a-f:.]+\](?::[0-9]{1,5})?/?"
)
_FOLDER = re.compile(r"[\w ./-]+")
_OF_ANOTHER = ("wrangler.json", "wrangler.jsonc")
"""What wrangler takes before a wrangler.toml."""
_TEMPLATE = re.compile(r"https://git(?:hub|lab)\.com(?:/[A-Za-z0-9_.-]+){2,}")


@dataclass(frozen=True, slots=True)
class _MadeFiles:
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
    has_shield: Annotated[
        bool,
        typer.Option(
            "--shield",
            help="Deploy the Worker once more, near the service: misses of all locations go by it.",
        ),
    ] = False,
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
    repository = _repository(service)
    host = "none" if template_url else ci or _ci(repository)
    guessed = guess(requirements_of(service), sources_of(service))
    chosen = FRAMEWORKS[framework] if framework else guessed
    if template_url and has_shield:
        raise InvalidRequest("a template deploys one Worker: leave out --shield, and add one later")
    most = _MOST_OF_SHIELDED_NAME if has_shield else _MOST_OF_NAME
    wishes = Wishes(
        name=_checked(name or _worker_name(service.name, most), most),
        folder="" if host == "none" else _place(folder, repository),
        framework=chosen,
        version=installed_version(),
        origin=_url("--origin", origin or f"http://127.0.0.1:{chosen.port}"),
        production_origin=_url(
            "--production-origin", production_origin or context.ask(_QUESTION, _PRODUCTION)
        ),
        ci=host,
        template_url=_template_url(template_url),
        has_shield=has_shield,
    )
    if host == "github":
        wishes = replace(wishes, workflow=_workflow(wishes, repository))
    planned = {folder / path: text for path, text in project_files(wishes, starting_hooks()).items()}
    planned |= {_near(repository / path): text for path, text in shared_files(wishes).items()}
    if other := _configuration_of_another(folder):
        raise InvalidRequest(f"wrangler would take {other} before a wrangler.toml: name another folder")
    try:
        made = _made(folder, wishes, planned, force=force)
    except (OSError, ValueError) as error:
        reason = f"{error.filename or folder}: {error.strerror}" if isinstance(error, OSError) else error
        raise InvalidRequest(f"{folder} can't hold a project: {reason}; name another folder") from error
    values = {
        "folder": str(made.folder),
        "framework": made.framework,
        "written": list(made.written),
        "overwritten": list(made.overwritten),
        "kept": list(made.kept),
    }
    context.show(values, lambda screen: _draw(screen, made))
    if has_shield and (unbound := _without_shield(folder / "wrangler.toml")):
        context.warn(
            f"{folder / 'wrangler.toml'} is as it was, and binds no shield in {', '.join(unbound)}: add it "
            "(docs/shield.md), or write the files again with --force"
        )


def _without_shield(config: Path) -> Sequence[str]:
    """Return the environments without a shield; none of a file that isn't what `init` writes."""
    with suppress(InvalidSettings):
        found = read_configurations(config)
        return [f"[env.{each.environment}]" for each in found if each.environment and not each.shield_service]
    return ()


def _configuration_of_another(folder: Path) -> Path | None:
    """Return the file that wrangler prefers to a wrangler.toml; none in a folder that can't be."""
    with suppress(OSError, ValueError):
        return next((folder / each for each in _OF_ANOTHER if (folder / each).exists()), None)
    return None


def _made(folder: Path, wishes: Wishes, planned: Mapping[Path, str], *, force: bool) -> _MadeFiles:
    """Write what isn't there, and with ``force`` what is there otherwise; what is there like that stays."""
    missing = [path for path in planned if not path.exists()]
    others = [path for path in planned if path not in missing and not _is_so(path, planned[path])]
    for path in (*missing, *(others if force else ())):
        put(path, planned[path].encode())
    return _MadeFiles(
        folder,
        wishes.framework.name,
        written=tuple(map(str, missing)),
        overwritten=tuple(map(str, others if force else ())),
        kept=tuple(map(str, () if force else others)),
    )


def _is_so(path: Path, text: str) -> bool:
    """Whether a file holds a text, with the line ends of any system."""
    return path.read_bytes().replace(b"\r\n", b"\n") == text.encode()


def _draw(screen: Screen, made: _MadeFiles) -> None:
    for path in made.written:
        screen.print(f"written: {path}")
    for path in made.overwritten:
        screen.print(f"overwritten: {path}", style="yellow")
    for path in made.kept:
        screen.print(f"kept: {path} is there already; --force overwrites it", style="yellow")
    found = "no framework was recognised" if made.framework == "none" else f"for {made.framework}"
    screen.print(f"{found}; {made.folder / 'README.md'} says what to add to the service. Next:")
    screen.print("  origin-sdk dev")


def _worker_name(folder: str, most: int) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[: most - len("-edge")].strip("-")
    return f"{plain or 'api'}-edge"


def _checked(name: str, most: int) -> str:
    if len(name) > most or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"--name {name!r} can't be a Worker's: write a-z, 0-9 and -, at most {most} characters"
        )
    return name


def _workflow(wishes: Wishes, repository: Path) -> str:
    """Return which workflow is this project's. Raises InvalidRequest if another deploys the same Worker."""
    there = {
        path.relative_to(repository).as_posix(): path.read_text("utf-8", errors="replace")
        for path in sorted(repository.glob(WORKFLOWS))
        if path.is_file()
    }
    for path, text in there.items():
        other = folder_of(text)
        if (
            other
            and other != wishes.folder
            and wishes.name in worker_names(repository / other / "wrangler.toml")
        ):
            raise InvalidRequest(
                f"{path} deploys the Worker {wishes.name!r} of {other}: give this one another --name"
            )
    return workflow_for(wishes.folder, wishes.name, there)


def _url(option: str, text: str) -> str:
    """Return a URL that stands in the files as it is."""
    try:
        is_origin = bool(_URL.fullmatch(text) and urlsplit(text).port != 0)
    except ValueError:  # a port beyond 65535, or no address in the brackets
        is_origin = False
    if not is_origin:
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


def _repository(service: Path) -> Path:
    """Return the top of the repository that a service is in; its own folder if it is in none."""
    # Of folders that can't be looked into it is False.
    is_top = (each for each in (service, *service.parents) if os.path.exists(each / ".git"))  # noqa: PTH110
    return next(is_top, service)


def _place(folder: Path, repository: Path) -> str:
    """Return where a folder is in the repository: workflows know it by that."""
    place = Path(os.path.normpath(folder.absolute()))
    if not place.is_relative_to(repository):
        raise InvalidRequest(
            f"{folder} is outside of {repository}, whose workflows would deploy it: name a folder inside, or "
            "write no workflows (--ci none)"
        )
    inside = place.relative_to(repository).as_posix()
    if not _FOLDER.fullmatch(inside):
        raise InvalidRequest(
            f"workflows can't name the folder {inside!r}: name one of letters, digits, spaces, ., _, -, or "
            "write no workflows (--ci none)"
        )
    return inside


def _near(path: Path) -> Path:
    """Return a path as one would say it from here."""
    return Path(os.path.relpath(path))


def _ci(repository: Path) -> Literal["github", "gitlab"]:
    """Return whose workflows the repository runs: that of its remote, else GitHub's."""
    git = repository / ".git" / "config"
    is_gitlab = (repository / ".gitlab-ci.yml").exists() or (
        git.is_file() and "gitlab" in git.read_text("utf-8", errors="replace")
    )
    return "gitlab" if is_gitlab else "github"
