"""An outbox in Redis streams: for services without a database that have Redis.

What is recorded is as durable as that Redis is: with ``appendfsync always`` as a database, with the default
up to a second less. The transaction is ``MULTI``: pass a pipeline to :meth:`RedisOutbox.record_in`.

Keys, all with the same hash tag, so that they lie on one node of a cluster::

    {name}          stream    entries; a consumer group holds what is claimed
    {name}:later    sorted set of entries that are claimed or were tried, by the moment of the next try
    {name}:about    hash      of those entries: attempts, who holds them, the last result
    {name}:ended    stream    what is done, dead or dropped: the audit record
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from itertools import chain, islice, takewhile
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import uuid4

import redis

from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._values.errors import InvalidSettings
from origin_sdk.outbox._stores.entries import Claim, Entry, Intent, Listed, Settlement, State, Status, Verdict
from origin_sdk.outbox._stores.sql import recorded_rows

__all__ = ["RedisOutbox", "client_and_name"]

_GROUP = "drainers"
_AT_ONCE = 500
_PAGE = 1000
_PRUNED_AT_ONCE = 10_000
_RECORDED = ("payload", "actor", "reason", "recorded_at")

# An entry is leased by its score in the sorted set: once claimed it lies there, due when the lease is over.
_CLAIM = """
local entries = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(entries) do redis.call('ZADD', KEYS[2], ARGV[2], id) end
local missing = tonumber(ARGV[3]) - #entries
if missing > 0 then
  local fresh = redis.call('XREADGROUP', 'GROUP', ARGV[4], 'all', 'COUNT', missing, 'STREAMS', KEYS[1], '>')
  if fresh then
    for _, message in ipairs(fresh[1][2]) do
      redis.call('ZADD', KEYS[2], ARGV[2], message[1])
      entries[#entries + 1] = message[1]
    end
  end
end
local claimed = {}
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
_SETTLE = """
local settled = 0
for index = 5, #ARGV, 4 do
  local id, state, at, result = ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
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


class RedisOutbox:
    """Implements :class:`origin_sdk.outbox.Outbox` over a Redis client of the caller's."""

    def __init__(self, client: "redis.Redis", name: str = "edge-outbox", clock: Clock | None = None) -> None:
        # redis-py's types tell nothing of which kind of client, and which kind of text, is at hand.
        self._client: Any = client
        self._clock = clock or SystemClock()
        tag = f"{{{name}}}"
        self._stream, self._ended = tag, f"{tag}:ended"
        self._keys = [tag, f"{tag}:later", f"{tag}:about", self._ended]
        self._claim = client.register_script(_CLAIM)
        self._settle = client.register_script(_SETTLE)
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
        with self._client.pipeline(transaction=True) as pipeline:
            self.record_in(pipeline, *intents)
            pipeline.execute()

    def record_in(self, pipeline: Any, *intents: Intent) -> None:
        """Record with the other commands of a pipeline, all or none."""
        for row in recorded_rows(intents, self._clock.now()):
            pipeline.xadd(self._stream, row)

    def claim(self, limit: int, now: float, until: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        token = uuid4().hex
        found = self._claim(keys=self._keys, args=[now, until, limit, _GROUP, token])
        entries = tuple(_entry(_text(id_), _pairs(raw), int(attempts)) for id_, raw, attempts in found)
        return Claim(token, until, tuple(sorted(entries, key=lambda entry: _order(entry.id))))

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        ids = [entry.id for entry in claim.entries]
        self._settled({id_: settlement.others.get(id_, settlement.rest) for id_ in ids}, claim.token)

    def next_due(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.xlen(self._stream)
            pipeline.zcard(self._keys[1])
            pipeline.zrange(self._keys[1], 0, 0, withscores=True)
            length, later, first = pipeline.execute()
        if length > later:
            return 0.0
        return float(first[0][1]) if first else None

    def prune(self, before: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`; at most 10,000 at once. Dead ones stay."""
        ended = takewhile(lambda each: each[1].at < before, self._ended_ones())
        settled = (id_ for id_, listed in ended if listed.state is not State.DEAD)
        doomed = list(islice(settled, _PRUNED_AT_ONCE))
        return int(self._client.xdel(self._ended, *doomed)) if doomed else 0

    def status(self) -> Status:
        """See :class:`origin_sdk.outbox.Outbox`."""
        counts: dict[State, int] = Counter(listed.state for _, listed in self._ended_ones())
        oldest = self._client.xrange(self._stream, count=1)
        if oldest:
            counts[State.WAITING] = int(self._client.xlen(self._stream))
        return Status(counts, float(_strings(oldest[0][1])["recorded_at"]) if oldest else None)

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
                count += self._settled({listed.id: Verdict(State.WAITING, 0.0, listed.result)}, "")
        for id_, listed in list(self._ended_ones()):
            if listed.id in wanted if wanted is not None else listed.state is State.DEAD:
                with self._client.pipeline(transaction=True) as pipeline:
                    row = {
                        name: getattr(listed, name) for name in ("payload", "actor", "reason", "recorded_at")
                    }
                    pipeline.xadd(self._stream, row)
                    pipeline.xdel(self._ended, id_)
                    pipeline.execute()
                count += 1
        return count

    def drop(self, ids: Iterable[str], now: float, result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        verdict = Verdict(State.DROPPED, now, result)
        wanted = set(ids)
        count = self._settled(dict.fromkeys(wanted, verdict), "")
        for id_, listed in list(self._ended_ones()):
            if listed.id in wanted and listed.state is State.DEAD:
                self._client.xdel(self._ended, id_)
                self._client.xadd(self._ended, _ended_row(listed, verdict))
                count += 1
        return count

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _settled(self, verdicts: dict[str, Verdict], token: str) -> int:
        count, items = 0, list(verdicts.items())
        for start in range(0, len(items), _AT_ONCE):
            arguments: list[Any] = [_GROUP, token, "", ""]
            for id_, verdict in items[start : start + _AT_ONCE]:
                arguments += [id_, verdict.state.value, verdict.at, verdict.result]
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


def _entry(id_: str, fields: dict[str, str], attempts: int) -> Entry:
    return Entry(
        id_, fields["payload"], fields["actor"], fields["reason"], float(fields["recorded_at"]), attempts
    )


def _listed(fields: dict[str, str]) -> Listed:
    return Listed(
        id=fields["id"],
        state=State(fields["state"]),
        payload=fields["payload"],
        actor=fields["actor"],
        reason=fields["reason"],
        recorded_at=float(fields["recorded_at"]),
        at=float(fields["at"]),
        attempts=int(fields["attempts"]),
        result=fields["result"],
    )


def _ended_row(listed: Listed, verdict: Verdict) -> dict[str, Any]:
    kept = {name: getattr(listed, name) for name in ("id", "attempts", *_RECORDED)}
    return {**kept, "state": verdict.state.value, "at": verdict.at, "result": verdict.result}
