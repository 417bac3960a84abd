"""From a changed object to what is to be purged or published: rules by model, without any database."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import getattr_static
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk._values.targets import Purge
from origin_sdk._values.texts import Texts, texts
from origin_sdk.outbox._stores.entries import Intent, Republish, payload_of

if TYPE_CHECKING:
    from origin_sdk.layers import AsyncLayeredCache, LayeredCache

__all__ = [
    "Before",
    "Bulk",
    "EdgeRule",
    "Registry",
    "UnseenChangeWarning",
    "gathered",
    "groups_of",
    "named_texts",
]

_log = logging.getLogger("origin_sdk.events")
_Model = TypeVar("_Model", bound=type)

_MOST_TARGETS = 1000
"""Targets in one entry: a change of ten thousand rows becomes a few entries, not one of a megabyte."""

Name: TypeAlias = Callable[[Any], Texts]
Bulk: TypeAlias = Literal["rows", "warn"] | Sequence[str]


class UnseenChangeWarning(UserWarning):
    """A statement changes rows of a mapped model, and its mapping doesn't say what to do about that."""


def _nothing(_: Any) -> Texts:
    return ()


def _no_pages(_: Any) -> Iterable[Republish]:
    return ()


@dataclass(frozen=True)
class EdgeRule:
    """What a change of a model's object makes out of date.

    ``groups``, ``urls`` and ``publish`` are asked with the object as it is, and as it was before. ``watch``
    names the attributes that count; ``None`` for all columns, and relationships to what the object refers to.
    ``hard`` as in :class:`origin_sdk.Purge`.

    ``bulk`` is for statements that change rows without their objects: groups to purge; ``"rows"`` to look the
    rows up, which costs a query before and after; or ``"warn"``, an :class:`UnseenChangeWarning`.
    """

    model: type
    groups: Name = _nothing
    urls: Name = _nothing
    publish: Callable[[Any], Iterable[Republish]] = _no_pages
    watch: frozenset[str] | None = None
    hard: bool = False
    reason: str = ""
    bulk: Bulk = "warn"

    def counts(self, changed: Iterable[str]) -> bool:
        """Return whether an update of these attributes matters."""
        return bool(self.watch.intersection(changed) if self.watch is not None else list(changed))

    def on_change(self, *versions: Any, now: Any = None) -> Iterator[Intent]:
        """Yield what to do about an object: ``versions`` are it before and after; ``now``, if it is there.

        What comes isn't checked: :func:`gathered` does that.
        """
        groups = _named(self.groups, versions)
        urls = _named(self.urls, versions)
        if groups or urls:
            yield Purge(groups=groups, urls=urls, hard=self.hard, reason=self.reason)
        if now is not None:
            yield from self.publish(now)

    def on_bulk(self) -> Iterator[Intent]:
        """Yield what to do about a statement, if ``bulk`` names groups."""
        if self.bulk and not isinstance(self.bulk, str):
            yield Purge(groups=tuple(self.bulk), hard=self.hard, reason=self.reason)


def _always(given: tuple[str, ...], _: object) -> Texts:
    return given


def _same(model: type, name: str, given: Any) -> tuple[str, ...]:
    """Return the groups or URLs of a rule that are the same for each object."""
    try:
        return tuple(getattr(Purge.of(**{name: given}), name))
    except (InvalidRequest, TypeError) as error:
        raise InvalidSettings(
            f"{name} = {given!r} in the rule for {model.__name__}: give a function of an object, or names "
            f"that are the same for each ({error})"
        ) from error


def _named(name: Name, versions: Iterable[Any]) -> tuple[str, ...]:
    if name is _nothing:
        return ()
    found: dict[str, None] = {}
    for version in versions:
        found |= dict.fromkeys(named_texts(name(version)))
    return tuple(found)


def named_texts(given: Any) -> tuple[str, ...]:
    """Return the groups or URLs that a function of anyone's named; what is neither one nor several is logged.

    It is asked once the change is made, which must not fail for it.
    """
    try:
        return texts(given)
    except InvalidRequest as error:
        _log.error("not purged: %s", error)
        return ()


def gathered(intents: Iterable[Intent]) -> list[Intent]:
    """Merge the intents of one transaction into few: soft and hard purges, and republications once each.

    Invalid targets are left out, and logged.
    """
    lanes: dict[tuple[bool, str], dict[tuple[str, str], None]] = {}
    pages: dict[str, Intent] = {}
    for intent in intents:
        if isinstance(intent, Republish):
            try:
                pages[payload_of(intent)] = intent
            except InvalidRequest as error:
                _log.error("not published: %s", error)
            continue
        lane = lanes.setdefault((intent.hard, intent.reason), {})
        lane.update(dict.fromkeys(("groups", group) for group in intent.groups))
        lane.update(dict.fromkeys(("urls", url) for url in intent.urls))
    purges: list[Intent] = []
    for (hard, reason), lane in lanes.items():
        targets = list(lane)
        for start in range(0, len(targets), _MOST_TARGETS):
            purges += _checked(targets[start : start + _MOST_TARGETS], hard=hard, reason=reason)
    return [*purges, *pages.values()]


def _checked(targets: Sequence[tuple[str, str]], *, hard: bool, reason: str) -> list[Purge]:
    if not targets:
        return []
    groups, urls = ([target for of, target in targets if of == kind] for kind in ("groups", "urls"))
    try:
        return [Purge.of(groups=groups, urls=urls, hard=hard, reason=reason)]
    except InvalidRequest as error:
        if len(targets) == 1:
            # No response can carry such a group or have such a URL, so there is nothing to purge: the change
            # itself must not fail for it.
            _log.error("not purged: %s", error)
            return []
    possible = [target for target in targets if _checked([target], hard=hard, reason=reason)]
    return _checked(possible, hard=hard, reason=reason)


def groups_of(intents: Iterable[Intent]) -> tuple[str, ...]:
    """Return the groups that are to be purged."""
    return tuple(group for intent in intents if isinstance(intent, Purge) for group in intent.groups)


def unknown_watch(rule: EdgeRule, known: Collection[str]) -> str:
    """Say which names a rule watches in which no change of its model shows, if there are any; else ``""``."""
    unknown = sorted((rule.watch or frozenset()).difference(known))
    if not unknown:
        return ""
    return (
        f"watch = {unknown} in the rule for {rule.model.__name__}: no change of its objects shows in that, "
        f"so that nothing would be purged; watch what it is made of, of {sorted(known)}, or register a rule "
        "for the model that holds it"
    )


class Registry:
    """The rules of a service, by model; a rule holds for subclasses too, and a model may have several."""

    on_commit: Callable[[], None] | None = None
    """Called after a commit that recorded something: set it to ``drainer.wake``."""
    layers: Sequence["LayeredCache | AsyncLayeredCache"] = ()
    """Caches that forget with a commit what it made out of date: whoever wrote reads the new right after.

    The drainer tells them again, for certain: ``Drainer(…, layers=…)``.
    """

    def __init__(self) -> None:
        self._rules: dict[type, list[EdgeRule]] = {}
        self._rules_of: dict[type, list[EdgeRule]] = {}

    def register(self, model: type, *, watch: Iterable[str] | None = None, **options: Any) -> EdgeRule:
        """Add a rule: see :class:`EdgeRule` for the options.

        ``groups`` and ``urls`` may also be texts, the same for each object. Groups that are all there is to
        purge are then those of ``bulk``, too, unless it is given.

        Raises :class:`InvalidSettings` if it would never purge or publish, or if ``model`` is no class.
        """
        if not isinstance(model, type):
            raise InvalidSettings(
                f"a rule is for a model's class, not for {model!r}: import the class, and give it"
            )
        same = {
            name: _same(model, name, options[name])
            for name in ("groups", "urls")
            if name in options and not callable(options[name])
        }
        if same.keys() == {"groups"} and not options.keys() & {"urls", "publish"}:
            options.setdefault("bulk", same["groups"])
        options |= {name: partial(_always, given) for name, given in same.items()}
        rule = EdgeRule(model, watch=None if watch is None else frozenset(texts(watch)), **options)
        if (rule.groups, rule.urls, rule.publish) == (_nothing, _nothing, _no_pages):
            raise InvalidSettings(f"the rule for {model.__name__} does nothing: give groups, urls or publish")
        self._rules.setdefault(model, []).append(rule)
        self._rules_of.clear()
        self.added(rule)
        return rule

    def purges(self, **options: Any) -> Callable[[_Model], _Model]:
        """Return a class decorator that adds a rule: ``@edge.purges(groups=lambda row: f"row-{row.id}")``."""

        def decorate(model: _Model) -> _Model:
            self.register(model, **options)
            return model

        return decorate

    def all_rules(self) -> Iterator[EdgeRule]:
        """Yield every rule."""
        for rules in self._rules.values():
            yield from rules

    def added(self, rule: EdgeRule, /) -> None:
        """Take notice of a new rule."""

    def committed(self, groups: Collection[str]) -> None:
        """Follow a commit that recorded purges of these groups."""
        if groups and self.layers:
            from origin_sdk.layers.commits import invalidate_committed  # noqa: PLC0415 - an extra of its own

            for cache in self.layers:
                invalidate_committed(cache, groups)
        if self.on_commit:
            self.on_commit()

    def rules_of(self, model: type) -> list[EdgeRule]:
        """Return the rules for a model, its bases' included."""
        if model not in self._rules_of:
            self._rules_of[model] = [rule for base in model.__mro__ for rule in self._rules.get(base, ())]
        return self._rules_of[model]


@dataclass(frozen=True)
class Before:
    """An object as it was: old values where they changed; methods and properties see those."""

    _now: Any
    _old: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """Return the old value of an attribute."""
        if name in self._old:
            return self._old[name]
        static = _declared(type(self._now), name)  # type: ignore[arg-type]  # mypy: not Hashable
        if isinstance(static, property) and static.fget:
            return static.fget(self)
        if isinstance(static, FunctionType):
            return MethodType(static, self)
        return getattr(self._now, name)


@lru_cache(maxsize=4096)
def _declared(kind: type, name: str) -> Any:
    return getattr_static(kind, name, None)
