-- One charge: what tenants/counters.go does in memory, step by step, in one trip. Times are in microseconds of the server's own clock, so
-- that gateways whose clocks differ agree.
--
-- KEYS: the rates, the slots, then for each account its hash and the order in which its holds end; the note, if there is one.
-- ARGV: id, hold, settle, rates, slots, accounts; limit, window, take of each rate; limit of each slot; limit, reserve, force (2 = soft), spend, floor,
--       seconds to keep of each account; text ('' = only read) and milliseconds to keep of the note.
-- Returns: which refused (-1 = none), the use ahead of time of each rate, the number of each slot's takers, and spent, held and 1 (short) or 2 (softly held)
--          of each account;
--          the note as it is then.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local id, hold, settle = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local nr, ns, na = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local at, refused, short, roomy = 7, -1, false, true
local ahead, cost, window, taken, account = {}, {}, {}, {}, {}

for i = 1, nr do
  local limit, w, take = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  window[i] = w
  cost[i] = take * w / limit
  if cost[i] < 0 then cost[i] = math.ceil(cost[i]) else cost[i] = math.floor(cost[i]) end
  local tat = tonumber(redis.call('GET', KEYS[i]) or '0')
  ahead[i] = math.max(tat - now, 0)
  if refused < 0 and ahead[i] + cost[i] > w then refused = i - 1 end
end
for i = 1, ns do
  local key = KEYS[nr + i]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  taken[i] = redis.call('ZCARD', key)
  if refused < 0 and taken[i] >= tonumber(ARGV[at]) then refused = nr + i - 1 end
  at = at + 1
end
for i = 1, na do
  local key, ends = KEYS[nr + ns + 2 * i - 1], KEYS[nr + ns + 2 * i]
  local a = {key = key, ends = ends, limit = tonumber(ARGV[at]), reserve = tonumber(ARGV[at + 1]), force = ARGV[at + 2] == '1', soft = ARGV[at + 2] == '2',
    spend = tonumber(ARGV[at + 3]), floor = tonumber(ARGV[at + 4]), keep = tonumber(ARGV[at + 5])}
  at = at + 6
  local v = redis.call('HMGET', key, 'spent', 'held')
  a.spent, a.held = tonumber(v[1] or '0'), tonumber(v[2] or '0')
  if a.spent < a.floor then
    a.spent = a.floor
    redis.call('HSET', key, 'spent', string.format('%.0f', a.spent))
    redis.call('EXPIRE', key, a.keep)
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
    local amount = tonumber(redis.call('HGET', key, 'hold:' .. other) or '0')
    a.held = a.held - amount
    redis.call('HINCRBY', key, 'held', -amount)
    redis.call('HDEL', key, 'hold:' .. other)
    redis.call('ZREM', ends, other)
  end
  if a.soft and a.spent + a.held + 100 * a.reserve > a.limit then roomy = false end
  a.short = not a.force and not a.soft and a.reserve > 0 and a.spent + a.held + a.reserve > a.limit
  short = short or a.short
  account[i] = a
end

local takes = settle or (refused < 0 and not short)
for i = 1, na do
  local a = account[i]
  if a.soft and not (takes and roomy) then a.soft, a.reserve = false, 0 end
end
if takes then
  for i = 1, nr do
    ahead[i] = math.max(ahead[i] + cost[i], 0)
    if ahead[i] > 0 then
      redis.call('SET', KEYS[i], string.format('%.0f', now + ahead[i]), 'PX', math.ceil(ahead[i] / 1000) + 1000)
    else
      redis.call('DEL', KEYS[i])
    end
  end
  for i = 1, ns do
    local key = KEYS[nr + i]
    if settle then
      redis.call('ZREM', key, id)
    else
      redis.call('ZADD', key, now + hold, id)
      redis.call('PEXPIRE', key, math.ceil(hold / 1000) + 1000)
    end
    taken[i] = redis.call('ZCARD', key)
  end
  for i = 1, na do
    local a = account[i]
    if settle or a.reserve > 0 then
      local was = tonumber(redis.call('HGET', a.key, 'hold:' .. id) or '0')
      local now_held = settle and 0 or a.reserve
      if now_held ~= was then
        a.held = a.held + now_held - was
        redis.call('HINCRBY', a.key, 'held', now_held - was)
      end
      if settle then
        redis.call('HDEL', a.key, 'hold:' .. id)
        redis.call('ZREM', a.ends, id)
        -- A settlement whose answer was lost is sent again: it counts once.
        if a.spend > 0 and redis.call('ZADD', a.ends, 'NX', now + 60000000, 'done:' .. id) == 1 then
          a.spent = a.spent + a.spend
          redis.call('HINCRBY', a.key, 'spent', a.spend)
        end
      else
        redis.call('HSET', a.key, 'hold:' .. id, a.reserve)
        redis.call('ZADD', a.ends, now + hold, id)
      end
      redis.call('EXPIRE', a.ends, a.keep)
      redis.call('EXPIRE', a.key, a.keep)
    end
  end
end

local out = {refused}
for i = 1, nr do out[#out + 1] = ahead[i] end
for i = 1, ns do out[#out + 1] = taken[i] end
for i = 1, na do
  out[#out + 1] = account[i].spent
  out[#out + 1] = account[i].held
  out[#out + 1] = account[i].short and 1 or account[i].soft and 2 or 0
end
-- What is wrong with a note is no reason to refuse: it is then not there.
local note = KEYS[nr + ns + 2 * na + 1]
if note then
  local was, text = redis.pcall('GET', note), ARGV[at]
  if type(was) ~= 'string' then was = '' end
  if text ~= '' and tonumber(string.match(text, '^%d+')) > tonumber(string.match(was, '^%d+') or '0') then
    redis.pcall('SET', note, text, 'PX', ARGV[at + 1])
    was = text
  end
  out[#out + 1] = was
end
return out
