"""Switches: what the cache does differently until a time, set and taken back without a deploy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from origin_sdk._cloudflare.kv import Pair
from origin_sdk._edge.purge import Operation, learn_clock, purge_id
from origin_sdk._edge.purge_log import LogClient, Untold, ask_state, pair_of, placeholder_of, tell
from origin_sdk._values.errors import ConnectionFailed, InvalidRequest
from origin_sdk_wire.purge_log.entries import (
    MAX_NAME_BYTES,
    MAX_STALE_SECONDS,
    MAX_SWITCH_SECONDS,
    Switch,
    SwitchKind,
)
from origin_sdk_wire.purge_log.messages import LogState

__all__ = ["Setting", "SwitchRecord", "read_state", "switch", "switch_kind"]

_NO_LOG = (
    "switches go through the purge log, which isn't configured here: set EDGE_CACHE_LOG_URL and "
    "EDGE_CACHE_LOG_KEY (docs/purge-log.md)"
)


@dataclass(frozen=True, slots=True)
class SwitchRecord:
    """A switch that was set: what, until when, by whom and why.

    ``told`` says whether the Worker knows of it, which otherwise finds it in KV within about a minute;
    ``None`` for what the Worker itself tells of.
    """

    id: str
    kind: SwitchKind
    rule: str
    since: datetime
    until: datetime
    seconds: int = 0
    by: str = ""
    why: str = ""
    told: bool | None = None

    @classmethod
    def of(cls, entry: Switch, *, told: bool | None = None) -> "SwitchRecord":
        """Make one of an entry of the log."""
        since, until = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (entry.moment_ms, entry.until_ms))
        return cls(entry.id, entry.kind, entry.rule, since, until, entry.seconds, entry.by, entry.why, told)

    def __str__(self) -> str:
        """Say it in a line."""
        what = f"{self.kind.value} of {f'the rule {self.rule}' if self.rule else 'everything'}"
        windows = f", windows of {self.seconds} s" if self.seconds else ""
        who = f", by {self.by}" if self.by else ""
        why = f": {self.why}" if self.why else ""
        return f"{what}{windows} until {self.until:%Y-%m-%d %H:%M:%S} UTC{who}{why}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "kind": self.kind.value,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Setting:
    """What a switch is to do. It begins now; without an ``until`` it takes back one that is on.

    ``seconds`` are the windows that ``stale`` raises to.
    """

    kind: SwitchKind
    rule: str = ""
    until: datetime | None = None
    seconds: int = 0
    reason: str = ""

    def check(self, rules: Sequence[str], now: datetime) -> None:
        """Raise :class:`InvalidRequest` for what can't be meant; ``rules`` are those that have a name."""
        if self.rule and self.kind is SwitchKind.PAUSE:
            raise InvalidRequest(f"rule = {self.rule!r}: a pause is for all purges; leave the rule out")
        if self.rule and rules and self.rule not in rules:
            raise InvalidRequest(
                f"rule = {self.rule!r}: wrangler.toml has no rule of that name; it has {', '.join(rules)}"
            )
        if len(self.rule.encode()) > MAX_NAME_BYTES:
            raise InvalidRequest(f"rule = {self.rule[:40]!r}…: longer than {MAX_NAME_BYTES} bytes")
        if self.until is None:
            return
        if self.until.tzinfo is None:
            raise InvalidRequest(f"until = {self.until}: has no time zone; give one, such as +00:00")
        if not now < self.until <= now + timedelta(seconds=MAX_SWITCH_SECONDS):
            raise InvalidRequest(
                f"until = {self.until:%Y-%m-%d %H:%M:%S %Z}: give a time within the next "
                f"{MAX_SWITCH_SECONDS // 3600} hours; what is permanent belongs in wrangler.toml"
            )
        if (self.kind is SwitchKind.STALE) != (self.seconds > 0) or self.seconds > MAX_STALE_SECONDS:
            raise InvalidRequest(
                f"seconds = {self.seconds}: `stale` needs the seconds to raise its windows to, up to "
                f"{MAX_STALE_SECONDS}; no other switch has any"
            )


def switch_kind(name: str) -> SwitchKind:
    """Return the kind of a name; raises :class:`InvalidRequest` for one that there isn't."""
    try:
        return SwitchKind(name)
    except ValueError as error:
        kinds = ", ".join(each.value for each in SwitchKind)
        raise InvalidRequest(f"{name!r} is no switch: give one of {kinds}") from error


async def switch(operation: Operation, setting: Setting) -> SwitchRecord:
    """Write a switch into the log, and tell the Worker of it."""
    log = _log_of(operation)
    await learn_clock(operation)
    now = datetime.fromtimestamp(operation.cloudflare_now(), UTC)
    setting.check([rule.name for rule in operation.rules if rule.name], now)
    made = Switch(
        purge_id(operation.clock.now(), operation.clock.token()),
        round(operation.mark_moment() * 1000),
        setting.kind,
        round((setting.until or now).timestamp() * 1000),
        setting.rule,
        setting.seconds,
        operation.settings.actor,
        setting.reason,
    )
    log.check([made])
    tries: list[Switch] = []

    def pairs(_: Sequence[str]) -> list[Pair]:
        moment_ms = round(operation.mark_moment() * 1000)
        tries.append(replace(made, moment_ms=moment_ms))
        return [pair_of(tries[-1], moment_ms, operation.seals)]

    await operation.namespace.write(operation.exchange, [placeholder_of(made)], pairs)
    return SwitchRecord.of(tries[-1], told=await tell(operation.exchange, log, tries[-1:]))


async def read_state(operation: Operation) -> LogState:
    """Ask the Worker how its log is; raises :class:`ConnectionFailed` where it doesn't say."""
    log = _log_of(operation)
    await learn_clock(operation)
    try:
        return await ask_state(operation.exchange, log)
    except Untold as error:
        raise ConnectionFailed(f"the purge log can't be asked: {error}") from error


def _log_of(operation: Operation) -> LogClient:
    if operation.log is None or not operation.log.can_tell:
        raise InvalidRequest(_NO_LOG)
    return operation.log
