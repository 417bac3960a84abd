"""An outbox in Redis streams: for services without a database that have Redis.

What is recorded is as durable as that Redis is: with ``appendfsync always`` as a database, with the default
up to a second less. The transaction is ``MULTI``: pass a pipeline to :meth:`RedisOutbox.record_in`, which
redis-py has for a cluster since 6.1.

Keys, all with the same hash tag, so that they lie on one node of a cluster::

    {name}          stream    entries; a consumer group holds what is claimed
    {name}:later    sorted set of entries that are claimed or were tried, by the moment of the next try
    {name}:about    hash      of those entries: attempts, who holds them, the last result
    {name}:ended    stream    what is done, dead or dropped: the audit record

Moments are Redis's own: an entry was recorded when its id says, the rest is taken in the scripts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import chain, islice
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import uuid4

import redis

from origin_sdk._process.spans import span
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.outbox._stores.entries import Claim, End, Entry, Intent, Listed, Settlement, State, Status
from origin_sdk.outbox._stores.ports import HORIZON_SECONDS
from origin_sdk.outbox._stores.sql import recorded_rows, waits_for

__all__ = ["RedisOutbox", "client_and_name"]

_GROUP = "drainers"
_AT_ONCE = 500
_PAGE = 1000
_PRUNED_AT_ONCE = 10_000
_RECORDED = ("payload", "actor", "reason")

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""
# Scripts, not MULTI: redis-py before 6.1 has no transactions in a cluster.
_RECORD = """
local fields = tonumber(ARGV[1])
for first = 2, #ARGV, fields do
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, first, first + fields - 1))
end
"""
_MOVE = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
return 1
"""
# An entry is leased by its score in the sorted set: once claimed it lies there, due when the lease is over.
_CLAIM = (
    _NOW
    + """
local function text(moment) return string.format('%.6f', moment) end
local limit, until_ = tonumber(ARGV[1]), text(now + ARGV[2])
local entries = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, limit)
local behind = redis.call(
  'ZRANGEBYSCORE', KEYS[2], '(' .. text(now + ARGV[3]), '+inf', 'LIMIT', 0, limit - #entries)
for _, id in ipairs(behind) do entries[#entries + 1] = id end
for _, id in ipairs(entries) do redis.call('ZADD', KEYS[2], until_, id) end
local missing = limit - #entries
if missing > 0 then
  local fresh = redis.call('XREADGROUP', 'GROUP', ARGV[4], 'all', 'COUNT', missing, 'STREAMS', KEYS[1], '>')
  if fresh then
    for _, message in ipairs(fresh[1][2]) do
      redis.call('ZADD', KEYS[2], until_, message[1])
      entries[#entries + 1] = message[1]
    end
  end
end
local claimed = {text(now), until_}
for _, id in ipairs(entries) do
  local found = redis.call('XRANGE', KEYS[1], id, id)
  if found[1] then
    local attempts = redis.call('HINCRBY', KEYS[3], id, 1)
    redis.call('HSET', KEYS[3], id .. ':claim', ARGV[5])
    claimed[#claimed + 1] = {id, found[1][2], attempts}
  else
    redis.call('ZREM', KEYS[2], id)
  end
end
return claimed
"""
)
_SETTLE = (
    _NOW
    + """
local settled = 0
for index = 3, #ARGV, 4 do
  local id, state, delay, result = ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
  local at = string.format('%.6f', now + delay)
  if ARGV[2] == '' or redis.call('HGET', KEYS[3], id .. ':claim') == ARGV[2] then
    local found = redis.call('XRANGE', KEYS[1], id, id)
    if found[1] and state == 'waiting' then
      redis.call('ZADD', KEYS[2], at, id)
      redis.call('HSET', KEYS[3], id .. ':result', result)
      redis.call('HDEL', KEYS[3], id .. ':claim')
      settled = settled + 1
    elseif found[1] then
      local entry = found[1][2]
      local values = {KEYS[4], '*', 'id', id, 'state', state, 'at', at, 'result', result,
        'attempts', redis.call('HGET', KEYS[3], id) or '0'}
      for _, value in ipairs(entry) do values[#values + 1] = value end
      redis.call('XADD', unpack(values))
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('XDEL', KEYS[1], id)
      redis.call('ZREM', KEYS[2], id)
      redis.call('HDEL', KEYS[3], id, id .. ':claim', id .. ':result')
      settled = settled + 1
    end
  end
end
return settled
"""
)


_DUE = (
    _NOW
    + """
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), first, string.format('%.6f', now)}
"""
)


class RedisOutbox:
    """Implements :class:`origin_sdk.outbox.Outbox` over a Redis client of the caller's."""

    def __init__(self, client: "redis.Redis", name: str = "edge-outbox") -> None:
        # redis-py's types tell nothing of which kind of client, and which kind of text, is at hand.
        self._client: Any = client
        tag = f"{{{name}}}"
        self._stream, self._ended = tag, f"{tag}:ended"
        self._keys = [tag, f"{tag}:later", f"{tag}:about", self._ended]
        self._claim = client.register_script(_CLAIM)
        self._settle = client.register_script(_SETTLE)
        self._due = client.register_script(_DUE)
        self._record = client.register_script(_RECORD)
        self._move = client.register_script(_MOVE)
        try:
            client.xgroup_create(tag, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    @classmethod
    def from_url(cls, url: str) -> "RedisOutbox":
        """Open ``redis://host/0?stream=name``."""
        return cls(*client_and_name(url))

    def record(self, *intents: Intent) -> None:
        """Record purges and republications."""
        traced = span("outbox record", outbox_entries=len(intents))
        rows = [_flat(row) for row in recorded_rows(intents)]
        with traced:
            if rows:
                self._record(keys=[self._stream], args=[len(rows[0]), *chain.from_iterable(rows)])

    def record_in(self, pipeline: Any, *intents: Intent) -> None:
        """Record with the other commands of a pipeline, all or none."""
        for row in recorded_rows(intents):
            pipeline.xadd(self._stream, row)

    def claim(self, limit: int, lease_seconds: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        token = uuid4().hex
        arguments: list[str | float] = [limit, lease_seconds, HORIZON_SECONDS, _GROUP, token]
        now, until, *found = self._claim(keys=self._keys, args=arguments)
        entries = (_entry(_text(id_), _pairs(raw), int(attempts)) for id_, raw, attempts in found)
        in_order = tuple(sorted(entries, key=lambda entry: _order(entry.id)))
        return Claim(token, float(now), float(until), in_order)

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        ids = [entry.id for entry in claim.entries]
        self._settled({id_: settlement.others.get(id_, settlement.rest) for id_ in ids}, claim.token)

    def due_in(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        length, later, first, now = self._due(keys=self._keys[:2])
        if length > later:
            return 0.0
        return waits_for(float(first[1]), float(now)) if first else None

    def prune(self, keep_seconds: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`; at most 10,000 at a time. Dead ones stay."""
        before = self._now() - keep_seconds
        doomed = list(islice(self._ended_before(before), _PRUNED_AT_ONCE))
        return int(self._client.xdel(self._ended, *doomed)) if doomed else 0

    def status(self) -> Status:
        """See :class:`origin_sdk.outbox.Outbox`."""
        counts: dict[State, int] = Counter(listed.state for _, listed in self._ended_ones())
        oldest = self._client.xrange(self._stream, count=1)
        if not oldest:
            return Status(counts, 0.0)
        counts[State.WAITING] = int(self._client.xlen(self._stream))
        id_, raw = oldest[0]
        return Status(counts, max(0.0, self._now() - _recorded_at(_text(id_), _strings(raw))))

    def list(self, states: Sequence[State], limit: int) -> Sequence[Listed]:
        """See :class:`origin_sdk.outbox.Outbox`."""
        ended = (listed for _, listed in self._ended_ones() if listed.state in states)
        waiting = self._waiting() if State.WAITING in states else ()
        return nlargest(limit, chain(ended, waiting), key=lambda listed: _order(listed.id))

    def replay(self, ids: Iterable[str] | None) -> int:
        """See :class:`origin_sdk.outbox.Outbox`; what has ended comes back under a new id."""
        wanted = None if ids is None else set(ids)
        count = 0
        for listed in self._waiting():
            if wanted is None or listed.id in wanted:
                count += self._settled({listed.id: End(State.WAITING, listed.result)}, "")
        for id_, listed in list(self._ended_ones()):
            if listed.id in wanted if wanted is not None else listed.state is State.DEAD:
                row = {name: getattr(listed, name) for name in (*_RECORDED, "recorded_at")}
                count += self._moved(id_, self._stream, row)
        return count

    def drop(self, ids: Iterable[str], result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        end = End(State.DROPPED, result)
        wanted = set(ids)
        count = self._settled(dict.fromkeys(wanted, end), "")
        for id_, listed in list(self._ended_ones()):
            if listed.id in wanted and listed.state is State.DEAD:
                count += self._moved(id_, self._ended, _ended_row(listed, end, self._now()))
        return count

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _moved(self, ended_id: str, stream: str, row: Mapping[str, Any]) -> int:
        """Move what has ended to the end of a stream; return 0 if somebody else did meanwhile."""
        return int(self._move(keys=[self._ended, stream], args=[ended_id, *_flat(row)]))

    def _now(self) -> float:
        """Return the moment by the clock of the node that has the outbox."""
        return float(self._due(keys=self._keys[:2])[3])

    def _settled(self, ends: Mapping[str, End], token: str) -> int:
        count, items = 0, list(ends.items())
        for start in range(0, len(items), _AT_ONCE):
            arguments: list[Any] = [_GROUP, token]
            for id_, end in items[start : start + _AT_ONCE]:
                arguments += [id_, end.state.value, end.delay_seconds, end.result]
            count += int(self._settle(keys=self._keys, args=arguments))
        return count

    def _waiting(self) -> Sequence[Listed]:
        about = _strings(self._client.hgetall(self._keys[2]))
        later = {_text(id_): at for id_, at in self._client.zrange(self._keys[1], 0, -1, withscores=True)}
        return [
            _listed(
                {
                    **_strings(raw),
                    "id": _text(id_),
                    "state": "waiting",
                    "at": str(later.get(_text(id_), 0.0)),
                    "attempts": about.get(_text(id_), "0"),
                    "result": about.get(f"{_text(id_)}:result", ""),
                }
            )
            for id_, raw in self._client.xrange(self._stream)
        ]

    def _ended_before(self, moment: float) -> Iterator[str]:
        for id_, listed in self._ended_ones():
            # By the ids, which never go back, it is known when to stop; the clock that `at` is by may have.
            if _order(id_)[0] / 1000 > moment:
                return
            if listed.state is not State.DEAD and listed.at < moment:
                yield id_

    def _ended_ones(self) -> Iterator[tuple[str, Listed]]:
        """Yield what has ended, in that order, with a page in memory at a time."""
        start = "-"
        while page := self._client.xrange(self._ended, min=start, count=_PAGE):
            for id_, raw in page:
                yield _text(id_), _listed(_strings(raw))
            start = f"({_text(page[-1][0])}"


def client_and_name(url: str) -> "tuple[redis.Redis, str]":
    """Take ``redis://host/0?stream=name`` apart; raises :class:`InvalidSettings`."""
    try:
        parts = urlsplit(url)
        names = parse_qs(parts.query).get("stream", ["edge-outbox"])
        client = redis.Redis.from_url(urlunsplit(parts._replace(query="")))
    except ValueError as error:
        raise InvalidSettings(f"not a Redis URL: {error}; write redis://host:6379/0?stream=name") from error
    return client, names[-1]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(raw: dict[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in raw.items()}


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    return _strings(dict(zip(flat[::2], flat[1::2], strict=True)))


def _order(id_: str) -> tuple[int, ...]:
    return tuple(int(part) for part in id_.split("-"))


def _recorded_at(id_: str, fields: Mapping[str, str]) -> float:
    """Return when an entry of the stream was recorded; one that was replayed says so, as its id is new."""
    return float(fields.get("recorded_at") or _order(id_)[0] / 1000)


def _entry(id_: str, fields: Mapping[str, str], attempts: int) -> Entry:
    payload, actor, reason = (fields[name] for name in _RECORDED)
    return Entry(id_, payload, actor, reason, _recorded_at(id_, fields), attempts)


def _listed(fields: dict[str, str]) -> Listed:
    return Listed(
        id=fields["id"],
        state=State(fields["state"]),
        payload=fields["payload"],
        actor=fields["actor"],
        reason=fields["reason"],
        recorded_at=_recorded_at(fields["id"], fields),
        at=float(fields["at"]),
        attempts=int(fields["attempts"]),
        result=fields["result"],
    )


def _flat(row: Mapping[str, Any]) -> list[Any]:
    return list(chain.from_iterable(row.items()))


def _ended_row(listed: Listed, end: End, at: float) -> dict[str, Any]:
    kept = {name: getattr(listed, name) for name in ("id", "attempts", *_RECORDED, "recorded_at")}
    return {**kept, "state": end.state.value, "at": at, "result": end.result}
