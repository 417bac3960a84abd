"""A Lua script, and what all of them have in common: the shard's clock, and who judges a record."""

import hashlib
from typing import Final

__all__ = ["LAST_MOMENT", "Script"]

LAST_MOMENT: Final = 2.0**53 - 2.0**50
"""In the year 2219: a later one is garbage. From here a clock goes on for 35 years before a double skips
microseconds. Scripts have it, too."""

_PRELUDE = """
local function text(n) return string.format('%.0f', n) end
-- Garbage of another type is nothing: what is written next takes its place.
local function string_at(key)
  local v = redis.pcall('GET', key)
  return type(v) == 'string' and v
end
-- The moment that it is, the last one given out, and how far the clock goes ahead of Redis's own.
local function clock(key)
  local t, last, ahead = redis.call('TIME'), 0, 0
  local kept = string_at(key)
  if kept then last, ahead = string.match(kept, '^(%d+) (%d+)$') end
  last, ahead = tonumber(last or 0), tonumber(ahead or 0)
  local time = t[1] * 1000000 + t[2]
  if last > LAST_MOMENT or time + ahead > LAST_MOMENT then last, ahead = 0, 0 end
  return time + ahead, last, ahead
end
local function tick(key, least)
  local moment, last, ahead = clock(key)
  last = math.max(last, least or 0)
  if moment <= last then
    -- Within a thousandth of a second that is haste; else the clock was set back: go on from where it was.
    if last - moment > 1000 then ahead = ahead + last + 1 - moment end
    moment = last + 1
  end
  redis.call('SET', key, text(moment) .. ' ' .. text(ahead))
  return moment
end
local function floor(set, key)
  local f = tonumber(redis.call('ZSCORE', set, '') or -1)
  if f >= 0 and f <= LAST_MOMENT then return f end
  local n = tick(key)
  redis.call('ZADD', set, text(n), '')
  return n
end
-- A record's birth; 0, at which nothing is born, for what is none: from 2^53 on a double skips microseconds.
local function birth_of(v)
  local birth = #v >= 8 and struct.unpack('>d', v) or 0
  return birth > 0 and birth < 9007199254740992 and birth or 0
end
local function groups_of(v)
  local length = struct.unpack('>H', v, 31)
  return string.gmatch(string.sub(v, 33, 32 + length), '[^\\n]+')
end
local function is_valid(v, moments, key)
  local birth, f = birth_of(v), redis.call('ZSCORE', moments, '')
  if not f or birth <= tonumber(f) or #v < 32 then return false end
  -- A name is here, too, if it was set or deleted while Redis was away.
  local own = redis.call('ZSCORE', moments, string.match(key, '}e:(.*)$'))
  if own and birth <= tonumber(own) then return false end
  for group in groups_of(v) do
    local moment = redis.call('ZSCORE', moments, group)
    if moment and birth <= tonumber(moment) then return false end
  end
  return true
end
-- When a record was last invalidated softly since its birth: then it ended to be fresh; 0 if it wasn't.
local function softened(v, moments)
  local birth, latest = birth_of(v), 0
  for group in groups_of(v) do
    local moment = tonumber(redis.call('ZSCORE', moments, '\\28' .. group) or 0)
    if moment >= birth then latest = math.max(latest, moment) end
  end
  return latest
end
-- Whether who knows of all moments from a floor up to a generation sees by itself how fresh a record is.
local function is_seen_through(v, moments, generation, least)
  local moment = softened(v, moments)
  return moment == 0 or (moment <= tonumber(generation) and moment > tonumber(least))
end
-- Whether a generation is older than the oldest of a history that is full.
local function is_forgotten(history, generation)
  if redis.call('ZCARD', history) < 10000 then return false end
  return tonumber(generation) < tonumber(redis.call('ZRANGE', history, 0, 0)[1])
end
-- Whether this is the history that a process knows up to a generation, 0 if it knows none. If it isn't, that
-- process has heard of what is unknown here, and knows better what is valid.
local function shares(history, generation)
  if generation == '0' or redis.call('ZSCORE', history, generation) then return true end
  return is_forgotten(history, generation)
end
local function generate(gen, key, history, least)
  local moment = tick(key, least)
  redis.call('SET', gen, text(moment))
  redis.call('ZADD', history, text(moment), text(moment))
  redis.call('ZREMRANGEBYRANK', history, 0, -10001)
  return moment
end
local function generation_at(gen)
  local g = tonumber(string_at(gen) or '')
  return g and g > 0 and g <= LAST_MOMENT and g or 0
end
local function known(gen, key, history)
  local g = generation_at(gen)
  return g > 0 and g or generate(gen, key, history)
end
local function next_moment(gen, key, history)
  local last = known(gen, key, history)
  return generate(gen, key, history, last), last
end
local function mark(set, names, from, moment, horizon, key)
  floor(set, key)
  for i = from, #names do redis.call('ZADD', set, text(moment), names[i]) end
  local bound = moment - horizon
  if floor(set, key) < bound then redis.call('ZADD', set, text(bound), '') end
  redis.call('ZREMRANGEBYSCORE', set, '-inf', '(' .. text(bound))
end
local function tell(channel, sender, shard, last, moment, names)
  redis.call('PUBLISH', channel, table.concat({sender, shard, text(last), moment, names}, '\\n'))
end
-- Whoever asked doesn't wait any more, and has made up for it in another way.
local function is_late(deadline, moment) return tonumber(deadline) > 0 and moment > tonumber(deadline) end
-- How a value lies in Redis: in its record. Structures put other functions here.
local content = {}
function content.get(keys) return string_at(keys[1]) end
function content.whole(v, keys) return v end
function content.set(keys, v, ttl) redis.call('SET', keys[1], v, unpack(ttl)) end
function content.drop(keys) redis.call('DEL', keys[1]) end
-- The keys of each value of many, from a place on: e, then its lock, and what else a value lies in.
content.width = 2
function content.each(keys, from)
  local width = content.width
  return function(_, i)
    local at = from + i * width
    if keys[at] then return i + 1, {keys[at], width > 2 and keys[at + 2] or nil, lock = keys[at + 1]} end
  end, nil, 0
end
-- What PUT, ADD, SWAP and TOUCH do alike: their KEYS are e m t g f h, their ARGV begin and end alike.
local function valid(keys)
  local v = content.get(keys)
  return v and is_valid(v, keys[2], keys[1]) and v
end
local function touched(set, name)
  local whole, parts = redis.call('ZSCORE', set, name), redis.call('ZSCORE', set, name .. '\\29')
  return math.max(tonumber(whole or 0), tonumber(parts or 0))
end
local function change(keys, argv, record, ttl)
  local time, given = clock(keys[5])
  if is_late(argv[#argv], time) then error('LATE') end
  floor(keys[2], keys[5])
  floor(keys[3], keys[5])
  -- A sealed record has had its birth before. It must be the key's latest, and of this history.
  local birth = tonumber(argv[8])
  if birth > 0 then
    local old = string_at(keys[1])
    local newest = math.max(old and birth_of(old) or 0, touched(keys[3], argv[7]))
    if birth <= newest or birth > given then return '-1' end
  end
  local moment, last = next_moment(keys[4], keys[5], keys[6])
  local told, marked = text(moment), moment
  if birth > 0 then
    told = told .. ' ' .. text(birth - 1)
    -- Who catches up from a later generation has to come by it, too, and takes the record for invalid.
    if birth - 1 > last then marked = birth - 1 end
  end
  if record == '' then content.drop(keys)
  else
    if birth == 0 then birth = tick(keys[5]) end
    content.set(keys, struct.pack('>d', birth) .. record, ttl)
  end
  mark(keys[3], {argv[7]}, 1, marked, tonumber(argv[3]), keys[5])
  tell(argv[4], argv[5], argv[6], last, told, argv[7])
  return text(moment)
end
"""


class Script:
    """A Lua script, known to Redis by its hash."""

    def __init__(self, name: str, body: str, *, may_repeat: bool = True, words: str = "") -> None:
        self.name = name
        self.may_repeat = may_repeat
        """Whether it may be asked again if the reply is lost: it comes to the same."""
        self._body = body
        self.source = f"local LAST_MOMENT = {LAST_MOMENT:.0f}\n{_PRELUDE}{words}{body}"
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def with_words(self, words: str) -> "Script":
        """Return the same with other functions where a value lies otherwise."""
        return Script(self.name, self._body, may_repeat=self.may_repeat, words=words)
