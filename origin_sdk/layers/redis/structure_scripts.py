"""What runs inside Redis for structures: the scripts of whole values in other words, and two of their own."""

from collections.abc import Mapping
from typing import Final

from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.scripts import CLAIM, PUT, READ, STORE

__all__ = ["OF_STRUCTURES", "PART", "REPLACE", "WRITE"]

_WORDS: Final = """
local function head(v) return #v < 32 and #v or 32 + struct.unpack('>H', v, 31) end
local function letter(v) return string.sub(v, head(v) + 1) end
local counts = {h = 'HLEN', s = 'SCARD', z = 'ZCARD'}
local function is_full(kind) return counts[kind] end
local function packed(list)
  local parts = {}
  for i = 1, #list do parts[i] = struct.pack('>I', #list[i]) .. list[i] end
  return table.concat(parts)
end
local function take(v, place)
  local n = struct.unpack('>I', v, place)
  return string.sub(v, place + 4, place + 3 + n), place + 4 + n
end
-- Pairs are written as each structure takes them, some thousand at a time: Lua can't pass on more.
local function writer(kind, s)
  local verb, words = ({h = 'HSET', s = 'SADD', z = 'ZADD'})[kind], {}
  local function flush()
    if #words > 0 then redis.call(verb, s, unpack(words)) end
    words = {}
  end
  local function add(member, value)
    if kind == 'z' then words[#words + 1] = value end
    words[#words + 1] = member
    if kind == 'h' then words[#words + 1] = value end
    if #words >= 4000 then flush() end
  end
  return add, flush
end
function content.get(keys)
  local v = string_at(keys[1])
  -- What isn't empty is away if Redis has evicted it, or if something else is in its place.
  local count = v and counts[letter(v)]
  if not count then return v end
  local size = redis.pcall(count, keys[#keys])
  return type(size) == 'number' and size > 0 and v
end
function content.whole(v, keys)
  local kind, s, list = letter(v), keys[#keys], {}
  if kind == 'h' then list = redis.call('HGETALL', s)
  elseif kind == 's' then
    for _, each in ipairs(redis.call('SMEMBERS', s)) do
      list[#list + 1] = each
      list[#list + 1] = ''
    end
  elseif kind == 'z' then list = redis.call('ZRANGE', s, 0, -1, 'WITHSCORES') end
  return v .. packed(list)
end
function content.set(keys, v, ttl)
  local place, s = head(v) + 1, keys[#keys]
  local kind = string.sub(v, place, place)
  redis.call('DEL', s)
  redis.call('SET', keys[1], string.sub(v, 1, place), unpack(ttl))
  if not is_full(kind) then return end
  local add, flush = writer(kind, s)
  place = place + 1
  while place <= #v do
    local member, value
    member, place = take(v, place)
    value, place = take(v, place)
    add(member, value)
  end
  flush()
  redis.call('PEXPIRE', s, redis.call('PTTL', keys[1]))
end
function content.drop(keys) redis.call('DEL', keys[1], keys[#keys]) end
content.width = 3
"""

OF_STRUCTURES: Final[Mapping[Script, Script]] = {
    script: script.with_words(_WORDS) for script in (READ, CLAIM, STORE, PUT)
}
"""The scripts of whole values, and what stands for them: with the key ``s`` as the last."""

PART: Final = Script(
    "PART",
    """
local moments, s = KEYS[2], KEYS[4]
for told in string.gmatch(ARGV[1], '%d+') do
  if not shares(KEYS[3], told) then return {0} end
end
local v = content.get(KEYS)
if not v or not is_valid(v, moments, KEYS[1]) then return {1} end
if not is_seen_through(v, moments, string.match(ARGV[1], '%d+'), ARGV[2]) then return {1} end
local kind, op, list = letter(v), ARGV[4], {}
if kind ~= 'n' and string.lower(kind) ~= ARGV[3] then return {1} end
local function told(member, value)
  if value then
    list[#list + 1] = member
    list[#list + 1] = value
  end
end
if op == 'fields' then
  for i = 5, #ARGV do told(ARGV[i], redis.call('HGET', s, ARGV[i])) end
elseif op == 'members' then
  for i = 5, #ARGV do told(ARGV[i], redis.call('SISMEMBER', s, ARGV[i]) == 1 and '') end
elseif op == 'scores' then
  for i = 5, #ARGV do told(ARGV[i], redis.call('ZSCORE', s, ARGV[i])) end
elseif op == 'count' then
  list[1] = tostring(redis.call(counts[ARGV[3]], s))
elseif op == 'count between' then
  list[1] = tostring(redis.call('ZCOUNT', s, ARGV[5], ARGV[6]))
elseif op == 'rank' then
  local place = redis.call(ARGV[5] == '1' and 'ZREVRANK' or 'ZRANK', s, ARGV[6])
  if place then list[1] = tostring(place) end
elseif op == 'page' then
  list = redis.call(ARGV[5] == '1' and 'ZREVRANGE' or 'ZRANGE', s, ARGV[6], ARGV[7], 'WITHSCORES')
elseif op == 'between' then
  local verb, first, last = 'ZRANGEBYSCORE', ARGV[6], ARGV[7]
  if ARGV[5] == '1' then verb, first, last = 'ZREVRANGEBYSCORE', last, first end
  list = redis.call(verb, s, first, last, 'WITHSCORES', 'LIMIT', ARGV[8], ARGV[9])
end
-- What is answered belongs to its key, as it does to its groups.
local name, groups = string.match(KEYS[1], '}e:(.*)$'), string.sub(v, 33, head(v))
if groups ~= '' then name = name .. '\\n' .. groups end
return {2, string.sub(v, 1, 30) .. struct.pack('>H', #name) .. name .. kind .. packed(list)}
""",
    words=_WORDS,
)
"""Keys e m h s; arguments the generations that the caller was told of, from which moment on it knows all, the
structure's letter, what is asked.

0: this history lacks one of them. 1: there is no valid record. 2: the record, with its key's name before its
groups, and the answer.
"""

_TOLD: Final = """
local function tell_parts(keys, argv)
  local moment, last = next_moment(keys[4], keys[5], keys[6])
  mark(keys[3], {argv[5] .. '\\29'}, 1, moment, tonumber(argv[1]), keys[5])
  tell(argv[2], argv[3], argv[4], last, text(moment), argv[5] .. '\\29')
  return text(moment)
end
"""

WRITE: Final = Script(
    "WRITE",
    """
local s, kind, put = KEYS[7], ARGV[6], tonumber(ARGV[7])
if is_late(ARGV[#ARGV], (clock(KEYS[5]))) then error('LATE') end
floor(KEYS[2], KEYS[5])
floor(KEYS[3], KEYS[5])
local v = valid(KEYS)
if v and string.lower(letter(v)) ~= kind then
  content.drop(KEYS)
  v = false
end
if v then
  local add, flush = writer(kind, s)
  for i = 8, 6 + 2 * put, 2 do add(ARGV[i], ARGV[i + 1]) end
  flush()
  local remove = ({h = 'HDEL', s = 'SREM', z = 'ZREM'})[kind]
  for i = 8 + 2 * put, #ARGV - 1 do redis.call(remove, s, ARGV[i]) end
  local is_there = redis.call('EXISTS', s) == 1
  local now = is_there and kind or string.upper(kind)
  if now ~= letter(v) then redis.call('SET', KEYS[1], string.sub(v, 1, head(v)) .. now, 'KEEPTTL') end
  if is_there then redis.call('PEXPIRE', s, redis.call('PTTL', KEYS[1])) end
end
return {tell_parts(KEYS, ARGV), v and 1 or 0}
""",
    words=_WORDS + _TOLD,
)
"""Keys e m t g f h s; arguments horizon, channel, sender, shard, key name, the structure's letter, how many
members are put, these with their values, members that are removed, and last a deadline.

Its moment, and whether there was a record to write to. There being none, loads under way are outdated all the
same.
"""

REPLACE: Final = Script(
    "REPLACE",
    """
if is_late(ARGV[#ARGV], (clock(KEYS[5]))) then error('LATE') end
floor(KEYS[2], KEYS[5])
floor(KEYS[3], KEYS[5])
local v = valid(KEYS)
if (v or '') ~= ARGV[6] then return {'0'} end
if v then redis.call('SET', KEYS[1], ARGV[7], 'KEEPTTL') end
return {tell_parts(KEYS, ARGV)}
""",
    words=_TOLD,
    may_repeat=False,
)
"""Keys e m t g f h; arguments horizon, channel, sender, shard, key name, the record that ought to be there,
the one of the same birth to put in its place, and last a deadline.

Its moment, or 0 if another record is there.
"""
