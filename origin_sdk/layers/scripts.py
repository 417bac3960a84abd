"""What runs inside Redis, and the keys that it touches.

All keys of a shard carry the same hash tag, so that in a cluster they lie in one slot:

=========  ======================================================================================
``e:KEY``  a record, see :mod:`origin_sdk.layers.envelope`
``m``      a sorted set: when each group was last invalidated, in microseconds of Redis's clock. Its
           member ``""`` is the *floor*: what was born before is invalid, since nothing is known of that
           time. So a set that was lost or evicted invalidates too much, never too little
``t``      the same for keys that were set or deleted, so that a load under way can't overwrite them
``g``      the last moment in ``m`` or ``t``: whoever knows of all moments up to it needs to read neither
``l:KEY``  a lock: ``fence token``
``f``      the number of the last lock: the fencing token
=========  ======================================================================================
"""

import hashlib
from dataclasses import dataclass
from typing import Any

__all__ = ["Command", "Layout", "Script"]

_PRELUDE = """
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function text(n) return string.format('%.0f', n) end
local function floor(set)
  local f = redis.call('ZSCORE', set, '')
  if f then return tonumber(f) end
  local n = now()
  redis.call('ZADD', set, text(n), '')
  return n
end
local function is_valid(v, moments, key)
  local birth = struct.unpack('>d', v)
  if birth <= floor(moments) then return false end
  -- A name is here, too, if it was set or deleted while Redis was away.
  local own = redis.call('ZSCORE', moments, string.match(key, '}e:(.*)$'))
  if own and birth <= tonumber(own) then return false end
  local length = struct.unpack('>H', v, 31)
  for group in string.gmatch(string.sub(v, 33, 32 + length), '[^\\n]+') do
    local moment = redis.call('ZSCORE', moments, group)
    if moment and birth <= tonumber(moment) then return false end
  end
  return true
end
local function known(gen)
  local g = redis.call('GET', gen)
  if g then return g end
  g = text(now())
  redis.call('SET', gen, g)
  return g
end
local function next_moment(gen)
  local last = tonumber(known(gen))
  return math.max(now(), last + 1), last
end
local function mark(set, names, from, moment, horizon)
  floor(set)
  for i = from, #names do redis.call('ZADD', set, text(moment), names[i]) end
  local bound = moment - horizon
  if floor(set) < bound then redis.call('ZADD', set, text(bound), '') end
  redis.call('ZREMRANGEBYSCORE', set, '-inf', '(' .. text(bound))
end
local function tell(channel, sender, shard, last, moment, names)
  redis.call('PUBLISH', channel, table.concat({sender, shard, text(last), text(moment), names}, '\\n'))
end
-- What PUT, ADD, SWAP and TOUCH do alike: their KEYS are e m t g, their ARGV begin alike.
local function valid(keys)
  local v = redis.call('GET', keys[1])
  return v and is_valid(v, keys[2], keys[1]) and v
end
local function change(keys, argv, record, ttl)
  floor(keys[2])  -- before the moment: time goes on in a script
  local moment, last = next_moment(keys[4])
  if record == '' then redis.call('DEL', keys[1])
  else redis.call('SET', keys[1], struct.pack('>d', moment + 1) .. record, unpack(ttl)) end
  mark(keys[3], {argv[7]}, 1, moment, tonumber(argv[3]))
  redis.call('SET', keys[4], text(moment))
  tell(argv[4], argv[5], argv[6], last, moment, argv[7])
  return text(moment)
end
"""


class Script:
    """A Lua script, known to Redis by its hash."""

    def __init__(self, body: str) -> None:
        self.source = _PRELUDE + body
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


READ = Script("""
local v = redis.call('GET', KEYS[1])
if v and not is_valid(v, KEYS[2], KEYS[1]) then v = false end
return {v, known(KEYS[3])}
""")
"""Keys e m g. The record if it is valid, and the last moment."""

PEEK = Script("""
local result = {}
for i = 2, #KEYS do
  local v = redis.call('GET', KEYS[i])
  local is_there = v and is_valid(v, KEYS[1], KEYS[i])
  result[#result + 1] = is_there and v or false
  result[#result + 1] = is_there and redis.call('PTTL', KEYS[i]) or 0
end
return result
""")
"""Keys m and any number of e: of each the record if it is valid, and for how many milliseconds it is kept."""

CLAIM = Script("""
local v, time = redis.call('GET', KEYS[1]), now()
if v and is_valid(v, KEYS[2], KEYS[1]) then
  local ends = struct.unpack('>d', v) + struct.unpack('>I', v, 15) * 1000
  if ends - time > tonumber(ARGV[3]) then return {v, '0', 0, 0} end
end
-- A floor that was made just now must not lie over the load.
time = math.max(time, floor(KEYS[2]) + 1, floor(KEYS[3]) + 1)
known(KEYS[4])
if ARGV[2] == '0' then return {false, text(time), 0, 0} end
if redis.call('EXISTS', KEYS[5]) == 1 then
  return {false, text(time), -1, redis.call('PTTL', KEYS[5])}
end
local fence = redis.call('INCR', KEYS[6])
redis.call('SET', KEYS[5], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {false, text(time), fence, 0}
""")
"""Keys e m t g l f; arguments token, lock milliseconds or 0, microseconds of freshness that a record needs.

Such a record; or the moment and the fence: 0 without a lock, -1 if another holds it, for so long.
"""

STORE = Script("""
local birth, fence, status = tonumber(ARGV[1]), ARGV[2], 1
local lock = redis.call('GET', KEYS[4])
local holder = lock and string.match(lock, '^%d+') or '0'
local v = struct.pack('>d', birth) .. ARGV[4]
local old = redis.call('GET', KEYS[1])
local touched = redis.call('ZSCORE', KEYS[3], ARGV[6])
if fence ~= '0' and tonumber(holder) > tonumber(fence) then status = -1
elseif birth <= math.max(floor(KEYS[3]), tonumber(touched or 0)) then status = 0
elseif not is_valid(v, KEYS[2], KEYS[1]) then status = 0
elseif old and struct.unpack('>d', old) > birth then status = -1
else redis.call('SET', KEYS[1], v, 'PX', ARGV[3]) end
if fence ~= '0' then
  if holder == fence then redis.call('DEL', KEYS[4]) end
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return status
""")
"""Keys e m t l; arguments birth, fence, milliseconds to keep, record, channel, key name.

1: stored. 0: what was loaded was invalidated meanwhile. -1: a later load came first. The lock is released.
"""

RELEASE = Script("""
local lock = redis.call('GET', KEYS[1])
if lock and string.match(lock, '^%d+') == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
""")
"""Key l; arguments fence, channel, key name."""

RENEW = Script("""
local lock = redis.call('GET', KEYS[1])
if lock and string.match(lock, '^%d+') == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")
"""Key l; arguments fence, milliseconds. 1 if the lock is still held."""

PUT = Script("""
local had = ARGV[1] == '' and valid(KEYS) and 1 or 0
return {change(KEYS, ARGV, ARGV[1], {'PX', ARGV[2]}), had}
""")
"""Keys e m t g; arguments record or nothing, milliseconds, horizon, channel, sender, shard, key name.

Its moment, and of a deletion whether there was something to delete.
"""

ADD = Script("""
if valid(KEYS) then return {'0'} end
return {change(KEYS, ARGV, ARGV[1], {'PX', ARGV[2]})}
""")
"""Like PUT, if there is no valid record: its moment, or 0."""

SWAP = Script("""
local v = valid(KEYS)
if v ~= ARGV[8] then return {'0', v} end
return {change(KEYS, ARGV, ARGV[1], {'KEEPTTL'}), v}
""")
"""Like PUT, if the record is still that of the last argument, for as long as that one: its moment, or 0; and
the record that was there."""

TOUCH = Script("""
local v = valid(KEYS)
if not v then return {'0'} end
return {change(KEYS, ARGV, string.sub(v, 9), {'PX', ARGV[2]})}
""")
"""Like PUT, with the record that is there: its moment, or 0."""

INVALIDATE = Script("""
local moment, last = next_moment(KEYS[2])
mark(KEYS[1], ARGV, 5, moment, tonumber(ARGV[1]))
redis.call('SET', KEYS[2], text(moment))
tell(ARGV[2], ARGV[3], ARGV[4], last, moment, table.concat(ARGV, '\\n', 5))
return {text(moment), text(last)}
""")
"""Keys m g; arguments horizon, channel, sender, shard, names. Its moment and the one before."""

REPEAT = Script("""
local lost = {}
for i = 5, #ARGV, 2 do
  local kept = 0
  for set = 1, 2 do kept = math.max(kept, tonumber(redis.call('ZSCORE', KEYS[set], ARGV[i]) or 0)) end
  if kept < tonumber(ARGV[i + 1]) then lost[#lost + 1] = ARGV[i] end
end
if #lost == 0 then return 0 end
local moment, last = next_moment(KEYS[3])
mark(KEYS[1], lost, 1, moment, tonumber(ARGV[1]))
redis.call('SET', KEYS[3], text(moment))
tell(ARGV[2], ARGV[3], ARGV[4], last, moment, table.concat(lost, '\\n'))
return #lost
""")
"""Keys m t g; arguments horizon, channel, sender, shard, names with the moments that they had.

Invalidates those of which Redis has lost that, in a failover for example; how many there were.
"""

SINCE = Script("""
local result = {known(KEYS[3]), text(math.max(floor(KEYS[1]), floor(KEYS[2]))), text(floor(KEYS[1])), 1}
local since = '(' .. ARGV[1]
for i = 1, 2 do
  local count = redis.call('ZCOUNT', KEYS[i], since, '+inf')
  if count > tonumber(ARGV[2]) then return {result[1], result[2], result[3], 0} end
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], since, '+inf', 'WITHSCORES')) do
    result[#result + 1] = each
  end
end
return result
""")
"""Keys m t g; arguments a moment, the most names of interest.

The last moment, the higher floor, that of m, 1, and names with their moments since; or 0 if there are more
names.
"""

DROP = Script("""
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return redis.call('PUBLISH', ARGV[1], table.concat({ARGV[2], ARGV[3], '0', '0', ''}, '\\n'))
""")
"""Keys m t g; arguments channel, sender, shard. Makes every record invalid, which a full Redis can, too."""


@dataclass(slots=True)
class Command:
    """Something to ask Redis: a script, or a command of its own if there is none."""

    script: Script | None
    keys: tuple[str, ...]
    arguments: tuple[Any, ...] = ()


class Layout:
    """Where a cache's keys lie. ``shards`` is 1 but in a cluster."""

    def __init__(self, prefix: str, shards: int) -> None:
        self.shards = shards
        self.changes = f"{prefix}:changes"
        self.loads = f"{prefix}:loads"
        self._tags = [f"{{{prefix}:{number}}}" for number in range(shards)]
        self.entry_prefixes = [f"{tag}e:" for tag in self._tags]
        self.generations = [f"{tag}g" for tag in self._tags]

    def shard(self, name: str) -> int:
        """Return the shard of a key; every process computes the same."""
        if self.shards == 1:
            return 0
        return int.from_bytes(hashlib.blake2s(name.encode(), digest_size=4).digest(), "big") % self.shards

    def key(self, shard: int, kind: str, name: str = "") -> str:
        """Return a key of Redis."""
        return f"{self._tags[shard]}{kind}{name}"

    def keys(self, shard: int, kinds: str, name: str) -> tuple[str, ...]:
        """Return the keys of several kinds, each a letter."""
        return tuple(
            self.key(shard, f"{kind}:", name) if kind in "el" else self.key(shard, kind) for kind in kinds
        )
