"""Paths that an origin may take for another one (web cache deception).

What a rule keeps out of the cache has to be kept out under each spelling that some origin would answer with
the same response: /account may be met as /ACCOUNT, /account/, //account, /account;x.css, /account%2Fx.css,
/x/..%2Faccount or /account/x.css.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from cachewire.key import Target, escape_path
from cachewire.rules import first_match
from cachewire.settings import DataClass, Rule, Settings

__all__ = ["forbids", "forbids_disguised"]

_ODD = re.compile(r"[%;A-Z]|//|/$|\.[A-Za-z0-9]+$")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_END = re.compile(r"[?#\x00\r\n]")
_PARAMETERS = re.compile(r";[^/]*")
_FILE = re.compile(r"/[^/]*\.[A-Za-z0-9]{1,8}$")


def forbids(rule: Rule) -> bool:
    """Whether what the rule matches is to stay out of the cache."""
    return rule.bypass or rule.data_class is DataClass.NEVER


def forbids_disguised(method: str, target: Target, settings: Settings) -> Rule | None:
    """Return the rule that would keep ``target`` out of the cache if its path were spelt plainly."""
    if not _ODD.search(target.path) or not any(map(forbids, settings.rules)):
        return None
    for path in _readings(target.path):
        rule = first_match(settings.rules, method, replace(target, path=escape_path(path)))
        if isinstance(rule, Rule) and forbids(rule):
            return rule
    return None


def _readings(path: str) -> Iterator[str]:
    for _ in range(2):  # some decode twice
        path = _ENCODED.sub(lambda found: chr(int(found[1], 16)), path)
        plain = _plain(path)
        # A file that isn't there is often answered by what lies above it.
        for reading in (plain, _FILE.sub("", plain)):
            if reading:
                yield from (reading, reading.lower())


def _plain(path: str) -> str:
    path = _PARAMETERS.sub("", _END.split(path, maxsplit=1)[0].replace("\\", "/"))
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    return "/" + "/".join(kept)
