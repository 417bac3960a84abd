"""The Worker's code out of the installed package: each build writes it, nobody edits it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from origin_sdk._deployment import compact
from origin_sdk._values.errors import InvalidSettings

__all__ = ["STAMP", "Written", "deploy", "installed_version", "put", "starting_hooks", "worker_code", "write"]

STAMP = ".origin-sdk-version"
"""The file beside the code: the version which it is of, then a line for each module, of digests."""
_PACKAGES = ("origin_sdk_wire", "origin_sdk_edge")
_SHIPPED = Path(__file__).with_name("worker")
_ENTRY, _HOOKS = "entry.py", "hooks.py"


@dataclass(frozen=True, slots=True)
class Written:
    """What a build did: the version before (empty for none) and now, files written and removed."""

    before: str
    version: str
    written: tuple[str, ...]
    removed: tuple[str, ...]


def installed_version() -> str:
    """Return the version of the installed package. Raises :class:`InvalidSettings` if none is installed."""
    try:
        return version("origin-sdk")
    except PackageNotFoundError as error:
        raise InvalidSettings("origin-sdk isn't installed here: pip install 'origin-sdk[cli]'") from error


def worker_code() -> Mapping[str, bytes]:
    """Return the Worker's modules, by the path at which the entry finds them."""
    found = {_ENTRY: (_wiring() / _ENTRY).read_bytes()}
    for package in _PACKAGES:
        folder = _folder(package)
        found |= {
            f"{package}/{file.relative_to(folder).as_posix()}": file.read_bytes()
            for file in sorted(folder.rglob("*.py"))
        }
    return found


def starting_hooks() -> str:
    """Return the module of hooks that a project starts with."""
    return (_wiring() / _HOOKS).read_text(encoding="utf-8")


def write(folder: Path) -> Written:
    """Put the Worker's code into a folder beside a project's own hooks; remove what no longer belongs.

    Raises :class:`InvalidSettings` if that can't be written to.
    """
    try:
        return deploy(folder, worker_code(), installed_version())
    except OSError as error:
        raise InvalidSettings(
            f"the Worker's code can't be written to {error.filename or folder}: {error.strerror}; make "
            f"{folder} a folder of files that this user may write"
        ) from error


def deploy(folder: Path, code: Mapping[str, bytes], version: str) -> Written:
    """Put modules into a folder as they are deployed; remove those of our packages that are no longer there.

    A module is made again only where its source has changed, or what was made of it.
    """
    before, made = _read_stamp(folder / STAMP)
    there = {
        file.relative_to(folder).as_posix()
        for package in _PACKAGES
        for file in (folder / package).rglob("*.py")
    }
    removed = sorted(there - code.keys())
    for name in removed:
        (folder / name).unlink(missing_ok=True)  # another build may have been faster
    written: list[str] = []
    maker = _digest(Path(compact.__file__).read_bytes())
    for name, source in code.items():
        file, from_source = folder / name, _digest(source + maker.encode())
        if file.exists() and made.get(name) == (from_source, _digest(file.read_bytes())):
            continue
        content = _compacted(name, source)
        made[name] = (from_source, _digest(content))
        if put(file, content):
            written.append(name)
    for cached in [each for package in _PACKAGES for each in (folder / package).rglob("__pycache__")]:
        shutil.rmtree(cached, ignore_errors=True)
    lines = (f"{' '.join(made[name])} {name}\n" for name in code)
    put(folder / STAMP, f"{version}\n{''.join(lines)}".encode())
    return Written(before, version, tuple(written), tuple(removed))


@lru_cache(maxsize=512)  # a process that builds often builds the same
def _compacted(name: str, source: bytes) -> bytes:
    """Return a module as it is deployed; raises :class:`InvalidSettings` for one that isn't Python."""
    try:
        return compact.compact(source.decode()).encode()
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{name}, line {line}" if line else name
        reason = getattr(error, "msg", None) or error
        raise InvalidSettings(f"{where}: {reason}; correct it: a module is Python in UTF-8") from error


def _read_stamp(stamp: Path) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the version of the last build, and by module the digests of its source and of what was made."""
    told = stamp.read_text(encoding="utf-8", errors="replace") if stamp.exists() else ""
    version, *lines = told.splitlines() or [""]
    parts = (line.split(" ", 2) for line in lines)
    return version, {each[2]: (each[0], each[1]) for each in parts if len(each) == 3}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(file: Path, content: bytes) -> bool:
    """Write a file unless it is so: `wrangler dev` starts a Worker again when one of its files changes.

    It is there whole or not at all: two builds may go on at once.
    """
    if file.exists() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        made = Path(new.name)
        try:
            new.write(content)
            new.close()
            made.chmod(0o644)
            made.replace(file)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    return True


def _wiring() -> Path:
    """Return where the entry is: inside the package, or in a checkout beside the Worker's packages."""
    return _SHIPPED if _SHIPPED.exists() else _folder("origin_sdk_edge").parent


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidSettings(f"{package}, a part of origin-sdk, is missing: install origin-sdk again")
    return Path(spec.submodule_search_locations[0])
