r"""What runs inside Redis, and the keys that it touches.

All keys of a shard carry the same hash tag, so that in a cluster they lie in one slot:

=========  ======================================================================================
``e:KEY``  a record, see :mod:`origin_sdk.layers.values.envelope`
``f``      the shard's clock: the last moment that it gave out, and what Redis's clock was set back by
           altogether. A *moment* is a number that it gives out once
``m``      a sorted set: the moment at which each group was last invalidated. Its member ``""`` is the
           *floor*: what was born before is invalid, since nothing is known of that time. So a set that was
           lost or evicted invalidates too much, never too little. ``\x1c`` and a group's name stand for
           when it was last invalidated softly
``t``      the same for keys that were set or deleted, so that a load under way can't overwrite them; a key
           and ``\x1d`` stands for what was written to parts of it
``g``      the *generation*: the last moment in ``m`` or ``t``. Who knows of all up to it needs neither
``h``      the *history*: the last generations. One that a process was told of and that isn't here was lost
``s:KEY``  what a structure consists of, see :mod:`origin_sdk.layers.structures`; its record has no value
``l:KEY``  a lock: the birth of its holder's load, and the load's token
``c:TOK``  the same of a load that others may run beside: it has claimed its birth, and shuts nobody out
``w:TOK``  whom the load of this token waits for: a load's token, and its key's name
=========  ======================================================================================

Why they are so is told in docs/layers-theory.md.
"""

from origin_sdk.layers.redis.lua import Script

__all__ = [
    "ADD",
    "CLAIM",
    "DROP",
    "HELD",
    "INVALIDATE",
    "NOTE",
    "PEEK",
    "PUT",
    "READ",
    "RELEASE",
    "RENEW",
    "REPEAT",
    "RESERVE",
    "SINCE",
    "STORE",
    "SWAP",
    "TOUCH",
]


READ = Script(
    "READ",
    """
local v = content.get(KEYS)
if not v or not shares(KEYS[3], ARGV[1]) or not is_valid(v, KEYS[2], KEYS[1]) then return false end
if ARGV[2] ~= '' and not is_seen_through(v, KEYS[2], ARGV[1], ARGV[2]) then return false end
return content.whole(v, KEYS)
""",
)
"""Keys e m h; arguments the generation that the caller knows, and from which moment on it knows all, or
nothing if it doesn't matter how fresh the record is. The record if it is valid, and the caller can see how
fresh it is."""

PEEK = Script(
    "PEEK",
    """
local result = {}
for i = 2, #KEYS do
  local v = string_at(KEYS[i])
  local is_there = v and is_valid(v, KEYS[1], KEYS[i])
  result[#result + 1] = is_there and v or false
  result[#result + 1] = is_there and redis.call('PTTL', KEYS[i]) or 0
end
return result
""",
)
"""Keys m and any number of e: of each the record if it is valid, and for how many milliseconds it is kept."""

CLAIM = Script(
    "CLAIM",
    """
local moments, clock_key, history = KEYS[1], KEYS[4], KEYS[5]
floor(moments, clock_key)
floor(KEYS[2], clock_key)
local g, is_shared = known(KEYS[3], clock_key, history), shares(history, ARGV[1])
-- What can be asked of all is asked once: a call costs more than what it does.
local wanted, entries, locks = {}, {}, {}
for i, keys in content.each(KEYS, 6) do wanted[i], entries[i], locks[i] = keys, keys[1], keys.lock end
local is_there = is_shared and redis.call('EXISTS', unpack(entries)) > 0
local holders = redis.call('MGET', unpack(locks))
local now, birth
local function claimed(keys, held, token, lock_ms, needed)
  local v = is_there and content.get(keys)
  if v and is_valid(v, moments, keys[1]) then
    now = now or clock(clock_key)
    local ends, soft = birth_of(v) + struct.unpack('>I', v, 15) * 1000, softened(v, moments)
    if soft > 0 then ends = math.min(ends, soft) end
    if ends - now > tonumber(needed) then return 'V', content.whole(v, keys) end
  end
  local since, holder = string.match(held or '', '^(%d+) (.*)$')
  if holder == token then return 'L' .. since end
  local left = since and redis.call('PTTL', keys.lock) or -1
  if left >= 0 then return 'H' .. left .. ' ' .. holder end  -- a lock has an end: what has none is garbage
  -- One moment for all: they are loaded at once, and compared with what else is of their names alone.
  birth = birth or tick(clock_key, g)
  if is_late(ARGV[#ARGV], birth) then return 'T' .. text(birth) end
  redis.call('SET', keys.lock, text(birth) .. ' ' .. token, 'PX', lock_ms)
  return 'L' .. text(birth)
end
local lines, records = {}, {''}
for i, keys in ipairs(wanted) do
  local line, record = claimed(keys, holders[i], unpack(ARGV, 3 * i - 1, 3 * i + 1))
  lines[i], records[#records + 1] = line, record
end
-- A text is read in a fraction of the time that a hundred are.
records[1] = table.concat(lines, '\\n')
return records
""",
)
"""Keys m t g f h, and of each e and l, or c instead of l for a load that may not be the only one; arguments
the generation that the caller knows, of each the load's token, lock milliseconds and microseconds of
freshness that a record needs, and last a deadline.

First a text with a line for each: ``V`` if there is such a record; ``L`` and the load's birth, with the lock;
``T`` and the time, if that came too late; ``H``, for how many milliseconds another load holds the lock, and
its token. Then those records.
"""

HELD = Script(
    "HELD",
    """
local lock = string_at(KEYS[1])
local birth, token = string.match(lock or '', '^(%d+) (.*)$')
return token == ARGV[1] and birth
""",
)
"""Key l; argument a load's token. The birth of the load if it holds the lock."""

STORE = Script(
    "STORE",
    """
local moments, touches, history = KEYS[1], KEYS[2], KEYS[3]
local known_to_caller, heard, pairs_end = ARGV[2], {}, 3 + 2 * ARGV[3]
for i = 4, pairs_end, 2 do heard[ARGV[i]] = tonumber(ARGV[i + 1]) end
local f, f_touches = redis.call('ZSCORE', moments, ''), redis.call('ZSCORE', touches, '')
local is_current = known_to_caller == '' or known_to_caller == string_at(KEYS[4])
local is_cut_off = not is_current and (known_to_caller == '0' or not shares(history, known_to_caller)
  or not f or tonumber(f) > tonumber(known_to_caller))
-- What is made of values that the caller had is as old as what it knew of those.
local function is_behind(v)
  if is_current or is_cut_off then return is_cut_off end
  for group in groups_of(v) do
    for _, name in ipairs({group, '\\28' .. group}) do
      local moment = redis.call('ZSCORE', moments, name)
      local known_moment = math.max(tonumber(known_to_caller), heard[name] or 0)
      if moment and tonumber(moment) > known_moment then return true end
    end
  end
  return false
end
-- What can be asked of all is asked once: a call costs more than what it does.
local each_keys, entries, locks, least = {}, {}, {}, math.huge
for i, keys in content.each(KEYS, 5) do
  each_keys[i], entries[i], locks[i] = keys, keys[1], keys.lock
  least = math.min(least, tonumber(ARGV[pairs_end + 5 * i - 4]))
end
local is_there = redis.call('EXISTS', unpack(entries)) > 0
local holders, given_back = redis.call('MGET', unpack(locks)), {}
-- Names of a set with a moment since the first birth, mostly few: of others nothing speaks against a record.
local function late(set)
  local names, found = redis.call('ZRANGEBYSCORE', set, text(least), '+inf', 'LIMIT', 0, 100), {}
  for _, name in ipairs(names) do found[name] = true end
  return #names < 100 and found
end
local late_groups, late_touches = late(moments), late(touches)
local function is_outdated(v, birth, name, key)
  if not f or not f_touches or birth <= tonumber(f) or birth <= tonumber(f_touches) then return true end
  if not late_touches or late_touches[name] or late_touches[name .. '\\29'] then
    if birth <= touched(touches, name) then return true end
  end
  local is_doubtful = not late_groups or late_groups[name]
  if not is_doubtful and next(late_groups) then
    for group in groups_of(v) do is_doubtful = is_doubtful or late_groups[group] end
  end
  return is_doubtful and not is_valid(v, moments, key)
end
local function stored(keys, held, given, token, kept_ms, record, name)
  local birth = tonumber(given)
  local v = struct.pack('>d', birth) .. record
  if string.match(held or '', '^%d+ (.*)$') ~= token then return 's' end
  given_back[#given_back + 1] = keys.lock
  if is_outdated(v, birth, name, keys[1]) or is_behind(v) then return 'o' end
  local old = is_there and redis.pcall('GETRANGE', keys[1], 0, 7) or ''
  if type(old) == 'string' and birth_of(old) > birth then return 's' end
  content.set(keys, v, {'PX', kept_ms})
  return 'd'
end
local statuses, names = {}, {}
for i, keys in ipairs(each_keys) do
  local last = pairs_end + 5 * i
  names[i] = ARGV[last]
  statuses[i] = stored(keys, holders[i], unpack(ARGV, last - 4, last))
end
if #given_back > 0 then redis.call('DEL', unpack(given_back)) end
redis.call('PUBLISH', ARGV[1], table.concat(names, '\\n'))
return table.concat(statuses)
""",
)
"""Keys m t h g, and of each e and its lock; arguments channel; of values that are made of others the
generation that the caller knew before it read them, else nothing; how many groups it had heard later moments
of, and these with the moments; and of each birth, token, milliseconds to keep, record, key name.

A letter for each: ``d``, done. ``o``: what was loaded is outdated, or may be. ``s``: superseded, since a
later load came first; or the claim isn't known here, so that nothing is known of the birth. The locks are
released.
"""

RELEASE = Script(
    "RELEASE",
    """
local names = {}
for i = 1, #KEYS do
  local token = string.match(string_at(KEYS[i]) or '', '^%d+ (.*)$')
  if token == ARGV[2 * i] then redis.call('DEL', KEYS[i]) end
  names[i] = ARGV[2 * i + 1]
end
redis.call('PUBLISH', ARGV[1], table.concat(names, '\\n'))
return ''
""",
)
"""Locks; arguments channel, and of each a load's token and its key's name."""

RENEW = Script(
    "RENEW",
    """
local token = string.match(string_at(KEYS[1]) or '', '^%d+ (.*)$')
return token == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
""",
)
"""Key l; arguments a load's token, milliseconds. 1 if the lock is still held."""

RESERVE = Script("RESERVE", "return text(tick(KEYS[1]))")
"""Key f. The birth of a record that is sealed with it, and written then."""

PUT = Script(
    "PUT",
    """
local had = ARGV[1] == '' and valid(KEYS) and 1 or 0
return {change(KEYS, ARGV, ARGV[1], {'PX', ARGV[2]}), had}
""",
)
"""Keys e m t g f h; arguments record or nothing, milliseconds, horizon, channel, sender, shard, key name, the
record's birth if it has one or 0, and last a deadline.

Its moment, or -1 if the birth is too old; and of a deletion whether there was something to delete.
"""

ADD = Script(
    "ADD",
    """
if valid(KEYS) then return {'0'} end
return {change(KEYS, ARGV, ARGV[1], {'PX', ARGV[2]})}
""",
    may_repeat=False,
)
"""Like PUT, if there is no valid record: its moment, or 0."""

SWAP = Script(
    "SWAP",
    """
local v = valid(KEYS)
if v ~= ARGV[9] then return {'0', v} end
local ttl = tonumber(ARGV[2]) > 1 and {'PX', ARGV[2]} or {'KEEPTTL'}
return {change(KEYS, ARGV, ARGV[1], ttl), v}
""",
    may_repeat=False,
)
"""Like PUT, if the record is still that of the ninth argument, for as long as that one if no milliseconds are
said: its moment, or 0; and the record that was there."""

TOUCH = Script(
    "TOUCH",
    """
local v = valid(KEYS)
if not v then return {'0'} end
return {change(KEYS, ARGV, string.sub(v, 9), {'PX', ARGV[2]})}
""",
)
"""Like PUT, with the record that is there: its moment, or 0."""

INVALIDATE = Script(
    "INVALIDATE",
    """
floor(KEYS[1], KEYS[3])
local moment, last = next_moment(KEYS[2], KEYS[3], KEYS[4])
mark(KEYS[1], ARGV, 5, moment, tonumber(ARGV[1]), KEYS[3])
tell(ARGV[2], ARGV[3], ARGV[4], last, text(moment), table.concat(ARGV, '\\n', 5))
return {text(moment), text(last)}
""",
)
"""Keys m g f h; arguments horizon, channel, sender, shard, names. Its moment and the one before."""

REPEAT = Script(
    "REPEAT",
    """
local lost = {}
for i = 5, #ARGV, 2 do
  local kept = 0
  for set = 1, 2 do kept = math.max(kept, tonumber(redis.call('ZSCORE', KEYS[set], ARGV[i]) or 0)) end
  if kept < tonumber(ARGV[i + 1]) then lost[#lost + 1] = ARGV[i] end
end
if #lost == 0 then return 0 end
local moment, last = next_moment(KEYS[3], KEYS[4], KEYS[5])
mark(KEYS[1], lost, 1, moment, tonumber(ARGV[1]), KEYS[4])
tell(ARGV[2], ARGV[3], ARGV[4], last, text(moment), table.concat(lost, '\\n'))
return #lost
""",
)
"""Keys m t g f h; arguments horizon, channel, sender, shard, names with the moments that they had.

Invalidates those of which Redis has lost that, in a failover for example; how many there were.
"""

SINCE = Script(
    "SINCE",
    """
redis.call('PERSIST', KEYS[4])  -- refused where this isn't the primary any more
-- Garbage where moments are kept counts as a loss, which invalidates too much, never too little.
for _, i in ipairs({1, 2, 5}) do
  local kind = redis.call('TYPE', KEYS[i]).ok
  local is_set = kind == 'zset' and redis.call('ZCOUNT', KEYS[i], '(' .. text(LAST_MOMENT), '+inf') == 0
  if not is_set and kind ~= 'none' then redis.call('DEL', KEYS[i]) end
end
local time, last = clock(KEYS[4])
local least = math.max(last, generation_at(KEYS[3]), tonumber(ARGV[1]))
if time <= least then time = tick(KEYS[4], least) end
-- A generation comes after the floors: from that on all is known.
local floors = {floor(KEYS[1], KEYS[4]), floor(KEYS[2], KEYS[4])}
local g = known(KEYS[3], KEYS[4], KEYS[5])
if g < math.max(unpack(floors)) then g = generate(KEYS[3], KEYS[4], KEYS[5]) end
local common, since = 0, tonumber(ARGV[3])
for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[5], ARGV[i]) then common = tonumber(ARGV[i]) break end
end
if common == 0 and #ARGV > 3 and is_forgotten(KEYS[5], ARGV[4]) then common = -1 end
local result = {text(g), text(time), text(math.max(unpack(floors))), text(floors[1]), text(common), '1'}
if common > 0 then since = math.min(since, common) end
for i = 1, 2 do
  local count = redis.call('ZCOUNT', KEYS[i], '(' .. text(since), '+inf')
  if count > tonumber(ARGV[2]) then
    result[6] = '0'
    return {unpack(result, 1, 6)}
  end
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. text(since), '+inf', 'WITHSCORES')) do
    result[#result + 1] = each
  end
end
return result
""",
)
"""Keys m t g f h; arguments the latest moment that the caller knows of any shard, the most names of interest,
the generation that it knows, and generations that it was told of, the newest first.

The clock goes on from that moment. The generation, the time, the higher floor, that of m, the first of the
generations that is in the history (0: none; -1: it is too old to tell), 1, and names with their moments
since; or 0 if there are more names.
"""

DROP = Script(
    "DROP",
    """
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('PUBLISH', ARGV[1], table.concat({ARGV[2], ARGV[3], '0', '0', ''}, '\\n'))
floor(KEYS[1], KEYS[4])
floor(KEYS[2], KEYS[4])
return text(generate(KEYS[3], KEYS[4], KEYS[5]))
""",
)
"""Keys m t g f h; arguments channel, sender, shard. Makes every record invalid, which a full Redis can, too:
it lets a script write on that has deleted something. The generation from which on it is so."""


NOTE = Script("NOTE", "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])")
"""Key w; arguments the token and the name of the load that this one waits for, milliseconds."""
