"""What a project pins, and how its pins move: texts in, texts out."""

from __future__ import annotations

import re

__all__ = [
    "COMPATIBILITY_DATE",
    "NODE_VERSION",
    "PIN_FILE",
    "WRANGLER_VERSION",
    "changes_between",
    "is_behind",
    "is_older",
    "pinned_version",
    "with_compatibility_date",
    "with_version",
    "with_wrangler",
]

COMPATIBILITY_DATE = "2026-11-01"
"""That with which this version of the Worker is tested."""
WRANGLER_VERSION = "4.164.0"
"""That with which this version of the Worker is tested."""
NODE_VERSION = (22, 12)
"""The least that wrangler runs on."""
PIN_FILE = "origin-sdk.txt"
"""The requirements file of a project: it pins the version of the Worker."""

_PIN = re.compile(r"(?mi)^(\s*origin[-_.]sdk(?:\[[^\]]*\])?\s*==\s*)([^\s;#\\]+)")
_WRANGLER = re.compile(r'("wrangler"\s*:\s*")([^"]*)(")')
_RANGES = "^~=v> "
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_DATE = re.compile(r'(?m)^(compatibility_date\s*=\s*")(\d{4}-\d{2}-\d{2})(")')
_SECTION = re.compile(r"(?m)^## (\S+).*$")


def pinned_version(requirements: str) -> str:
    """Return the version that a requirements file pins; empty if it pins none."""
    found = _PIN.search(requirements)
    return found[2] if found else ""


def with_version(requirements: str, version: str) -> str:
    """Return a requirements file that pins another version."""
    return _PIN.sub(rf"\g<1>{version}", requirements)


def with_wrangler(package: str) -> str:
    """Return a package.json with the wrangler that this version is tested with, unless its own is newer."""

    def newer(found: re.Match[str]) -> str:
        is_behind = is_older(found[2].lstrip(_RANGES), WRANGLER_VERSION)
        return f"{found[1]}{WRANGLER_VERSION}{found[3]}" if is_behind else found[0]

    return _WRANGLER.sub(newer, package)


def is_behind(package: str, installed: str) -> bool:
    """Whether the wrangler of a package.json is newer than the installed one: an upgrade has moved it."""
    found = _WRANGLER.search(package)
    declared = found[2].lstrip(_RANGES) if found else ""
    return bool(_VERSION.fullmatch(declared)) and is_older(installed, declared)


def with_compatibility_date(configuration: str) -> str:
    """Return a wrangler.toml whose compatibility date is at least the one of this version."""
    return _DATE.sub(lambda found: f"{found[1]}{max(found[2], COMPATIBILITY_DATE)}{found[3]}", configuration)


def changes_between(changelog: str, before: str, version: str) -> str:
    """Return the sections of a changelog after one version, up to and including another."""
    _, *parts = _SECTION.split(changelog)
    sections = zip(parts[::2], parts[1::2], strict=True)
    return "\n\n".join(
        f"## {name}\n\n{text.strip()}"
        for name, text in sections
        if is_older(before, name) and not is_older(version, name)
    )


def is_older(version: str, other: str) -> bool:
    """Whether a version comes before another one."""
    return _order(version) < _order(other)


def _order(version: str) -> tuple[int, ...]:
    """Return what versions are compared by; that of a name which is none comes after all."""
    numbers = re.fullmatch(r"(\d+(?:\.\d+)*).*", version)
    return tuple(int(each) for each in numbers[1].split(".")) if numbers else (10**9,)
