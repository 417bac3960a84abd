"""What ``wrangler.toml`` says that the origin's side needs: namespace, mark interval, retention and rules."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cachewire.bounds import DEFAULT_MARK_INTERVAL_SECONDS
from cachewire.errors import InvalidRule
from cachewire.lifetimes import DEFAULT_JITTER
from cachewire.quantities import BYTES, SECONDS, quantity
from cachewire.rules import KeyRule, parse_key_rule
from origin_sdk.errors import InvalidSettings

__all__ = ["DEFAULT_PROJECT", "EdgeRule", "Project", "read_project"]

_DAY = 86_400


@dataclass(frozen=True)
class EdgeRule(KeyRule):
    """A rule with what publishing and explaining need beside the key.

    Seconds, ``None`` where the response decides.
    """

    lifetime: int | None = None
    default_lifetime: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    negative_lifetimes: Mapping[int, int] = field(default_factory=dict, hash=False)
    groups: tuple[str, ...] = ()
    bypass: bool = False
    data_class: str = "public"

    @property
    def never_stores(self) -> bool:
        """Whether nothing that the rule matches lies in KV."""
        return self.bypass or self.data_class == "never"


@dataclass(frozen=True)
class Project:
    """The settings of a Worker, as far as its origin has to know them. Durations are seconds."""

    namespace_id: str = ""
    mark_interval: float = DEFAULT_MARK_INTERVAL_SECONDS
    retention: int = 7 * _DAY
    stale_while_revalidate: int = 0
    stale_if_error: int = _DAY
    memory_item_bytes: int = 1024 * 1024
    max_body_bytes: int = 25 * 1024 * 1024
    compress_min_bytes: int = 4096
    lifetime_jitter: float = DEFAULT_JITTER
    rules: tuple[EdgeRule, ...] = ()

    def differences(self, namespace_id: str, mark_interval: float) -> Iterator[str]:
        """Say where this machine's settings contradict the Worker's."""
        if self.namespace_id and namespace_id != self.namespace_id:
            yield (
                f"EDGE_CACHE_NAMESPACE_ID = {namespace_id!r}, but wrangler.toml binds "
                f"{self.namespace_id!r}: purges go to "
                "a namespace that the Worker doesn't read"
            )
        if mark_interval < self.mark_interval:
            yield (
                f"mark_interval = {mark_interval:g}, but MARK_INTERVAL of the Worker is "
                f"{self.mark_interval:g}: receipts "
                "promise too much"
            )


DEFAULT_PROJECT = Project()


def read_project(path: Path) -> Project:
    """Read a ``wrangler.toml``.

    Raises :class:`InvalidSettings`, which names the file, the setting and the remedy.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{path} can't be read: {error}; give --config FILE") from error
    variables = declared.get("vars", {})
    namespaces = [entry for entry in declared.get("kv_namespaces", ()) if entry.get("binding") == "CACHE"]
    values = {
        name: reader(variables[name.upper()], name)
        for name, reader in _READERS.items()
        if name.upper() in variables
    }
    if variables.get("PROFILE") == "rfc9111":
        values = {"stale_if_error": 0, "lifetime_jitter": 0.0, **values}
    try:
        rules = _rules(variables.get("RULES", ()))
    except InvalidRule as error:
        raise InvalidSettings(f"{path}: {error}") from error
    return Project(namespace_id=namespaces[0].get("id", "") if namespaces else "", rules=rules, **values)


def _rules(tables: Sequence[Mapping[str, Any]]) -> tuple[EdgeRule, ...]:
    return tuple(_RuleReader(table, f"RULES[{number}]").read() for number, table in enumerate(tables))


@dataclass(frozen=True, slots=True)
class _RuleReader:
    """Reads one ``[[vars.RULES]]`` table; ``where`` names it in errors."""

    table: Mapping[str, Any]
    where: str

    def read(self) -> EdgeRule:
        """Return the rule; raises :class:`InvalidRule`."""
        key = parse_key_rule(self.table, self.where)
        known = {each.name: getattr(key, each.name) for each in fields(KeyRule)}
        groups = self.table.get("groups", ())
        return EdgeRule(
            **known,
            lifetime=self._seconds("lifetime"),
            default_lifetime=self._seconds("default_lifetime"),
            stale_while_revalidate=self._seconds("stale_while_revalidate"),
            stale_if_error=self._seconds("stale_if_error"),
            negative_lifetimes=self._negative_lifetimes(),
            groups=(groups,) if isinstance(groups, str) else tuple(groups),
            bypass=bool(self.table.get("bypass", False)),
            data_class=str(self.table.get("data_class", "public")),
        )

    def _seconds(self, setting: str) -> int | None:
        return self._read(self.table[setting], setting) if setting in self.table else None

    def _negative_lifetimes(self) -> Mapping[int, int]:
        table = self.table.get("negative_lifetimes", {})
        if not isinstance(table, Mapping) or not all(str(status).isdecimal() for status in table):
            raise InvalidRule(
                f"{self.where}.negative_lifetimes = {table!r}: give status codes and durations, such as "
                '{ 404 = "1m", 410 = "1h" }'
            )
        return {
            int(status): self._read(value, f"negative_lifetimes.{status}") for status, value in table.items()
        }

    def _read(self, value: object, setting: str) -> int:
        try:
            return int(seconds(value, setting))
        except InvalidSettings as error:
            raise InvalidRule(f"{self.where}.{error}") from error


def seconds(value: object, setting: str) -> float:
    """Read a duration as ``wrangler.toml`` has it: a number, or a text such as ``"5m"``."""
    return _read(value, SECONDS, setting, "seconds, or a text such as 500ms, 30s, 5m, 2h or 7d")


def _whole_seconds(value: object, setting: str) -> int:
    return int(seconds(value, setting))


def _bytes(value: object, setting: str) -> int:
    return int(_read(value, BYTES, setting, "bytes, or a text such as 512KiB or 25MiB"))


def _share(value: object, setting: str) -> float:
    expects = "a number from 0 up to, but not including, 1, such as 0.1"
    found = _read(value, {"": 1.0}, setting, expects)
    if found >= 1:
        raise InvalidSettings(f"{setting} = {value!r}: give {expects}")
    return found


def _read(value: object, units: Mapping[str, float], setting: str, expects: str) -> float:
    try:
        found = quantity(value, units)
    except ValueError as error:
        raise InvalidSettings(f"{setting} = {value!r}: give {expects}") from error
    if found < 0:
        raise InvalidSettings(f"{setting} = {value!r}: give {expects}, from 0")
    return found


_READERS: Mapping[str, Any] = {
    "mark_interval": seconds,
    "retention": _whole_seconds,
    "stale_while_revalidate": _whole_seconds,
    "stale_if_error": _whole_seconds,
    "memory_item_bytes": _bytes,
    "max_body_bytes": _bytes,
    "compress_min_bytes": _bytes,
    "lifetime_jitter": _share,
}
