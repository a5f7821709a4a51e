-- One charge: what tenants/counters.go does in memory, in one trip. Times are those of the server's own clock, so that gateways whose clocks differ agree.
-- It runs for every exchange, so each key is read by one call and written by one, what changes nothing is not written, and few tables are made.
--
-- KEYS: for each level its limits, then each account, then the note, if there is one.
-- ARGV: slot:ID, hold:ID, from:GATEWAY; milliseconds to hold, settle, number of the settlement (0 = it has none), levels, accounts;
--       of each level: limit of its slots (-1 = it has none), how many rates, their names, then cost and window of each in microseconds;
--       of each account: limit, reserve, force (2 = soft, 3 = lower), spend (lower: what must be held), floor, seconds to keep;
--       text ('' = only read) and milliseconds to keep of the note.
-- Returns: which of the rates, then of the slots, refused (-1 = none); of each level the use ahead of time of its rates and the number of its slots' takers; spent,
--          held and 1 (short) or 2 (softly held) of each account; the note as it is then.
--
-- The limits of a level are a hash: each rate's theoretical arrival time by its name, in microseconds; how many slots are taken, a time before which none of them
-- lapses (next), and when each does (slot:ID), in milliseconds; when the key expires. An account is a hash: spent, held, a time before which no hold lapses (next),
-- what each is and when it lapses (hold:ID). Both have the number of each gateway's last settlement (from:GATEWAY): one whose answer was lost is sent again under
-- its number, and counts once.
local call, tonumber = redis.call, tonumber
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local ms = math.ceil(now / 1000)
local mine, hold, from = ARGV[1], ARGV[2], ARGV[3]
local ends, settle, number, nl, na = ms + ARGV[4], ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local levels, accounts = {}, {}
local at, refused, crowded, rates, slots, short, roomy = 9, -1, -1, 0, 0, false, true

-- lapse takes what has lapsed out of a hash: fields that begin with kind, whose values are an amount, if it is not 1, and a time. It writes and returns the sum of
-- what is left, under its name, and when the next of it lapses (0 = nothing does).
local function lapse(key, kind, name)
  local fields, over, sum, next = call('HGETALL', key), {}, 0, 0
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 5) == kind then
      local amount, time = string.match(fields[i + 1], '^(%d+) (%d+)$')
      time = tonumber(time or fields[i + 1])
      if time <= ms then
        over[#over + 1] = fields[i]
      else
        sum = sum + (amount or 1)
        if next == 0 or time < next then next = time end
      end
    end
  end
  for i = 1, #over, 1000 do call('HDEL', key, unpack(over, i, math.min(i + 999, #over))) end
  call('HSET', key, name, sum, 'next', next)
  return sum, next
end

for i = 1, nl do
  local key, limit, n = KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local v = call('HMGET', key, 'expires', 'taken', 'next', mine, from, unpack(ARGV, at + 2, at + 1 + n))
  at = at + 2 + n
  for j = 6, 5 + n do
    local ahead = (v[j] or 0) - now
    if ahead < 0 then ahead = 0 end
    if refused < 0 and ahead + ARGV[at] > tonumber(ARGV[at + 1]) then refused = rates end
    v[j], rates, at = ahead, rates + 1, at + 2
  end
  if limit >= 0 then
    v[2], v[3] = tonumber(v[2] or 0), tonumber(v[3] or 0)
    if v[2] > 0 and v[3] <= ms then
      v[2], v[3] = lapse(key, 'slot:', 'taken')
      v[4] = call('HGET', key, mine)
    end
    if crowded < 0 and v[2] >= limit then crowded = slots end
    slots = slots + 1
  end
  levels[i] = v
end
if refused < 0 and crowded >= 0 then refused = rates + crowded end

local money = at
for i = 1, na do
  local key, limit, reserve, force, floor = KEYS[nl + i], tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 4])
  local v = call('HMGET', key, 'spent', 'held', 'next', hold, from)
  local spent, held, next, new = tonumber(v[1] or 0), tonumber(v[2] or 0), tonumber(v[3] or 0), not v[1]
  if next > 0 and next <= ms then
    held, next = lapse(key, 'hold:', 'held')
    v[4] = call('HGET', key, hold)
  end
  if spent < floor then
    spent = floor
    call('HSET', key, 'spent', spent)
    if new then call('EXPIRE', key, ARGV[at + 5]) end
    new = false
  end
  local would = spent + held - (v[4] and string.match(v[4], '^%d+') or 0) + reserve
  if force == '2' and would + 99 * reserve > limit then roomy = false end
  local cannot = force == '0' and reserve > 0 and would > limit
  short = short or cannot
  v[1], v[2], v[3], v[6], v[7] = spent, held, next, new, cannot
  accounts[i], at = v, at + 6
end

local takes = settle or (refused < 0 and not short)
local out, o = {refused}, 1
at = 9
for i = 1, nl do
  local v, key, limit, n = levels[i], KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local names, need, write, w = at - 4, 0, nil, 0
  at = at + 2 + n
  if takes and limit >= 0 then
    local had = v[4]
    if not settle then
      if v[2] == 0 or ends < v[3] then v[3] = ends end
      if not had then v[2] = v[2] + 1 end
      write, w, need = {'taken', v[2], 'next', v[3], mine, ends}, 6, ends - ms
    elseif had then
      v[2] = v[2] - 1
      call('HDEL', key, mine)
      write, w = {'taken', v[2]}, 2
    end
  end
  local again = number > 0 and tonumber(v[5] or 0) >= number
  for j = 6, 5 + n do
    local ahead, cost = v[j], tonumber(ARGV[at])
    at = at + 2
    if takes and cost ~= 0 and not again then
      ahead = ahead + cost
      if ahead < 0 then ahead = 0 end
      write = write or {}
      write[w + 1], write[w + 2], w = ARGV[names + j], now + ahead, w + 2
      if ahead > need * 1000 then need = ahead / 1000 end
    end
    o = o + 1
    out[o] = ahead
  end
  if limit >= 0 then
    o = o + 1
    out[o] = v[2]
  end
  if write then
    if number > 0 then write[w + 1], write[w + 2], w = from, number, w + 2 end
    -- The key outlives what is needed by a minute and more, so that this is seldom done.
    if tonumber(v[1] or 0) < ms + need then
      local expires = math.ceil(ms + 2 * need + 60000)
      write[w + 1], write[w + 2] = 'expires', expires
      call('HSET', key, unpack(write))
      call('PEXPIREAT', key, expires + 1000)
    else
      call('HSET', key, unpack(write))
    end
  end
end

at = money
for i = 1, na do
  local v, key, reserve, said = accounts[i], KEYS[nl + i], tonumber(ARGV[at + 1]), 0
  local spent, held, next, had, new = v[1], v[2], v[3], v[4], v[6]
  if ARGV[at + 2] == '2' then
    if takes and roomy then said = 2 else reserve = 0 end
  elseif v[7] then
    said = 1
  end
  if takes and settle then
    local spend = tonumber(ARGV[at + 3])
    if number > 0 and tonumber(v[5] or 0) >= number then spend = 0 end
    if had then
      held = held - string.match(had, '^%d+')
      call('HDEL', key, hold)
    end
    spent = spent + spend
    if spend > 0 and number > 0 then
      call('HSET', key, 'spent', spent, 'held', held, from, number)
    elseif had or spend > 0 then
      call('HSET', key, 'spent', spent, 'held', held)
      new = new and spend > 0
    else
      new = false
    end
  elseif ARGV[at + 2] == '3' then
    new = false
    if had and string.match(had, '^%d+') == ARGV[at + 3] then
      held = held - ARGV[at + 3] + reserve
      if reserve > 0 then
        call('HSET', key, 'held', held, hold, ARGV[at + 1] .. string.match(had, ' %d+$'))
      else
        call('HDEL', key, hold)
        call('HSET', key, 'held', held)
      end
    end
  elseif takes and reserve > 0 then
    held = held + reserve
    if had then held = held - string.match(had, '^%d+') end
    if next <= ms or ends < next then next = ends end
    call('HSET', key, 'spent', spent, 'held', held, 'next', next, hold, ARGV[at + 1] .. ' ' .. ends)
  else
    new = false
  end
  if new then call('EXPIRE', key, ARGV[at + 5]) end
  out[o + 1], out[o + 2], out[o + 3], o, at = spent, held, said, o + 3, at + 6
end

-- What is wrong with a note is no reason to refuse: it is then not there.
local note = KEYS[nl + na + 1]
if note then
  local was, text = redis.pcall('GET', note), ARGV[at]
  if type(was) ~= 'string' then was = '' end
  if text ~= '' and tonumber(string.match(text, '^%d+')) > tonumber(string.match(was, '^%d+') or '0') then
    redis.pcall('SET', note, text, 'PX', ARGV[at + 1])
    was = text
  end
  out[o + 1] = was
end
return out
