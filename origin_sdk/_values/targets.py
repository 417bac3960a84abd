"""What to purge, as a value: checked, normalised, without duplicates, and ready to be sent or kept."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Self, TypedDict, Unpack

from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.texts import Texts, text, texts
from origin_sdk_wire.disguise import keyed_targets
from origin_sdk_wire.errors import WireError
from origin_sdk_wire.key import Target, parse_target
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    group_mark,
    host_mark,
    prefix_index_mark,
    prefix_mark,
    url_mark,
    written_keys,
)
from origin_sdk_wire.parameters import without_parameters
from origin_sdk_wire.rules import KeyRule, hidden_by

__all__ = [
    "KINDS",
    "NAMES",
    "Purge",
    "TargetKind",
    "Targets",
    "parse_group",
    "parse_host",
    "parse_url",
    "shown_url",
    "stored_targets",
]


class Targets(TypedDict, total=False):
    """The arguments of ``purge``: what to purge, and how. See :class:`Purge`."""

    urls: Texts
    groups: Texts
    prefixes: Texts
    hosts: Texts
    everything: bool
    hard: bool
    delete: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Purge:
    """Targets and how to purge them. Made by :meth:`of`, which checks them.

    ``urls`` cover all variants, under http and https. ``prefixes`` are URLs too, and cover what is at or
    below their path on segment borders. ``hosts`` are authorities, ``groups`` are namespace-wide.

    Soft, the default, makes what is stored stale; ``hard`` makes it as if not stored; ``delete`` (only with
    ``hard``) removes it from KV as well.
    """

    urls: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    everything: bool = False
    hard: bool = False
    delete: bool = False
    reason: str = ""

    @classmethod
    def of(cls, **targets: Unpack[Targets]) -> Self:
        """Check and normalise targets; raises :class:`InvalidRequest`, which names the first invalid one."""
        given: Mapping[str, Any] = targets
        if unknown := given.keys() - set(cls.__slots__):
            raise TypeError(f"a purge has no {', '.join(sorted(unknown))}; it has {', '.join(cls.__slots__)}")
        given = {name: value for name, value in given.items() if value is not None or name in NAMES}
        for name in given.keys() - set(NAMES):
            if not _is_of_type(name, given[name]):  # "no" is true, and everything would be purged
                raise InvalidRequest(f"{name} = {given[name]!r}: give {_TYPES[name]}")
        if given.get("delete") and not given.get("hard"):
            raise InvalidRequest(
                "delete=True without hard=True: what is deleted can't stay usable as stale; pass hard=True"
            )
        named = {kind.name: _unique(given.get(kind.name, ()), kind.read) for kind in KINDS}
        made = cls(**{**given, **named})
        if made.is_empty:
            raise InvalidRequest(f"nothing to purge: pass {', '.join(NAMES)} or everything=True")
        return made

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to purge."""
        return not (self.everything or any(getattr(self, name) for name in NAMES))

    @property
    def lane(self) -> Lane:
        """Where the marks go."""
        return Lane.HARD if self.hard else Lane.SOFT

    def marks(self, rules: Sequence[KeyRule] = ()) -> dict[str, None]:
        """Return the keys of the marks to write, in order and each once.

        With ``everything`` no other target has one: it covers the rest. What tells readers of others comes
        after them, so that whoever sees it can find them.
        """
        return written_keys(self.names(rules), self.lane)

    def names(self, rules: Sequence[KeyRule] = ()) -> Iterator[str]:
        """Yield the names of its marks, indexes included; some perhaps more than once."""
        if self.everything:
            yield EVERYTHING
            return
        for kind in KINDS:
            yield from kind.marks(getattr(self, kind.name), rules)

    def only(self, marks: Iterable[str], rules: Sequence[KeyRule] = ()) -> "Purge":
        """Return the part of the targets that needs any of ``marks``."""
        wanted = frozenset(marks)

        def needs(**targets: Any) -> bool:
            part = replace(self, **{**_NOTHING, **targets})
            return not wanted.isdisjoint(part.marks(rules))

        if self.everything:
            return self if needs(everything=True) else replace(self, **_NOTHING)
        parts: dict[str, Any] = {
            name: tuple(target for target in getattr(self, name) if needs(**{name: (target,)}))
            for name in NAMES
        }
        return replace(self, **parts)

    def merged_with(self, other: "Purge") -> "Purge":
        """Return both in one.

        Raises :class:`InvalidRequest` if one is soft and one hard, or only one deletes.
        """
        if (self.hard, self.delete) != (other.hard, other.delete):
            raise InvalidRequest("a soft and a hard purge can't be merged: send them one after the other")
        joined: dict[str, Any] = {
            name: _unique((*getattr(self, name), *getattr(other, name))) for name in NAMES
        }
        return replace(
            self,
            **joined,
            everything=self.everything or other.everything,
            reason=self.reason or other.reason,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the targets as JSON types, without what is empty; :meth:`from_json` reads them."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` returned, perhaps in an older process; raises :class:`InvalidRequest`."""
        if not isinstance(values, Mapping):
            raise InvalidRequest(f"not a purge: {str(values)[:100]!r}; give what as_json returned")
        if unknown := values.keys() - set(cls.__slots__):
            raise InvalidRequest(
                f"not a purge: it has {sorted(unknown)}; a purge has {', '.join(cls.__slots__)}"
            )
        for name, value in values.items():
            if not _is_of_type(name, value):
                raise InvalidRequest(f"not a purge: {name} = {str(value)[:100]!r}; give {_TYPES[name]}")
        return cls.of(**values)

    def __str__(self) -> str:
        """Say it in a line, for logs: without the query of a URL, which may hold a secret."""
        parts = ["everything"] if self.everything else []
        for kind in KINDS:
            targets = getattr(self, kind.name)
            if len(targets) == 1:
                shown, query, _ = targets[0].partition("?")
                parts.append(f"{kind.noun} {shown}{query and '?…'}")
            elif targets:
                parts.append(f"{len(targets)} {kind.name}")
        return f"{'hard' if self.hard else 'soft'}: {', '.join(parts)}"


def _unique(given: Texts, read: Callable[[str], str] = str) -> tuple[str, ...]:
    return () if given == () else tuple(dict.fromkeys(map(read, map(text, texts(given)))))


def _url(url: str) -> str:
    return str(parse_url(url))


def parse_url(url: str) -> Target:
    """Read a URL, with ``https://`` where it has no scheme; raises :class:`InvalidRequest`.

    Without a scheme, a host shows by a dot or a port: ``nonsense`` is no URL, but a slip.
    """
    target = _target(text(url))
    if "://" not in url and "." not in target.host and ":" not in target.host and target.host != "localhost":
        raise InvalidRequest(f"{url!r} isn't a URL: write https://{url} if it begins with a host")
    return target


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _target(url: str) -> Target:
    if _CONTROL.search(url):  # which parsers of URLs take out, so that two lines would become one URL
        raise InvalidRequest(f"{url!r} isn't a URL: there is a control character in it")
    try:
        return parse_target(url if "://" in url else f"https://{url}")
    except WireError as error:
        raise InvalidRequest(str(error)) from error


def parse_host(host: str) -> str:
    """Read a host, perhaps with a port, or the URL of one; raises :class:`InvalidRequest`."""
    target = _target(text(host))
    if target.path != "/" or target.query is not None:
        raise InvalidRequest(f"{host!r} isn't a host: it has a path or query; purge it as a prefix or a URL")
    return target.host


def _prefix(prefix: str) -> str:
    target = parse_url(prefix)
    if target.query is not None:
        raise InvalidRequest(f"the prefix {prefix!r} has a query: a prefix covers every query; leave it out")
    try:
        prefix_mark(target)
    except WireError as error:
        raise InvalidRequest(str(error)) from error
    return str(target)


def parse_group(group: str) -> str:
    """Read the name of a group; raises :class:`InvalidRequest`."""
    try:
        group_mark(group)
    except WireError as error:
        raise InvalidRequest(str(error)) from error
    return group


@lru_cache(maxsize=1024)
def _keyed_targets(target: Target, rules: tuple[KeyRule, ...]) -> tuple[Target, ...]:
    return keyed_targets(target, rules)


def stored_targets(target: Target, rules: Sequence[KeyRule]) -> tuple[Target, ...]:
    """Return the targets as the Worker's keys and URL marks may have them: with the query edits of a rule."""
    return _keyed_targets(target, tuple(rules)) if rules else (target,)


def shown_url(url: str, rules: Sequence[KeyRule]) -> str:
    """Return a URL without the parameters that any of the rules hides: a key, or a signature."""
    hidden = hidden_by(rules)
    try:
        return str(without_parameters(parse_url(url), hidden)) if hidden else url
    except InvalidRequest:
        return url.partition("?")[0]


def _url_marks(urls: Iterable[str], rules: Sequence[KeyRule]) -> Iterator[str]:
    targets = (parse_url(url) for url in urls)
    return (url_mark(keyed) for target in targets for keyed in stored_targets(target, rules))


def _prefix_marks(prefixes: Iterable[str], _: Sequence[KeyRule]) -> Iterator[str]:
    """Name the marks of prefixes, then the indexes: whoever sees an index can find what it tells of."""
    targets = [parse_url(prefix) for prefix in prefixes]
    yield from map(prefix_mark, targets)
    yield from (prefix_index_mark(target.host) for target in targets)


@dataclass(frozen=True, slots=True)
class TargetKind:
    """A kind of target: its ``name`` in :class:`Purge` and :class:`Targets`, and one of it in a sentence.

    ``read`` checks and normalises one; ``marks`` names what is written for several.
    """

    name: str
    noun: str
    read: Callable[[str], str]
    marks: Callable[[Sequence[str], Sequence[KeyRule]], Iterable[str]]


KINDS: Final = (
    TargetKind("urls", "url", _url, _url_marks),
    TargetKind("groups", "group", parse_group, lambda groups, _: map(group_mark, groups)),
    TargetKind("prefixes", "prefix", _prefix, _prefix_marks),
    TargetKind("hosts", "host", parse_host, lambda hosts, _: map(host_mark, hosts)),
)
NAMES: Final = tuple(kind.name for kind in KINDS)

_TYPES: Mapping[str, str] = {
    **dict.fromkeys(NAMES, "a string or a list of strings"),
    **dict.fromkeys(("everything", "hard", "delete"), "true or false"),
    "reason": "a text",
}


def _is_of_type(name: str, value: object) -> bool:
    match _TYPES[name]:
        case "true or false":
            return isinstance(value, bool)
        case "a text":
            return isinstance(value, str)
        case _:
            return isinstance(value, str) or (
                isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
            )


_NOTHING: Mapping[str, Any] = {**dict.fromkeys(NAMES, ()), "everything": False}
