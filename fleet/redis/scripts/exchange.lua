-- ARGV: the prefix, the node, the batch's number and that of the last one, both as 20
-- digits, and then the sets, slices, claims and knocks, each kind behind how many there
-- are, and the beat behind 1, or 0.
-- Returns 0 where the share is lost, 1 where the batch is too late, or else the answer.
local at = 1
local function take() at = at + 1; return ARGV[at] end
local function number() at = at + 1; return tonumber(ARGV[at]) end

local id, seq, last = take(), take(), take()
local own = prefix .. 'node:' .. id
local stored = standing(id)
if not stored then return 0 end
if seq <= stored then return 1 end
if last ~= stored then return 0 end
redis.call('HSET', own, 's', seq)

local others = {}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. decimal(now), '+inf')) do
  if other ~= id then others[#others + 1] = prefix .. 'node:' .. other end
end

local function elsewhere(field)
  local sum = 0
  for _, other in ipairs(others) do
    local n = redis.call('HGET', other, field)
    if n then sum = sum + (tonumber(n) or 0) end
  end
  return sum
end

local function put(field, n)
  if n > 0 then
    redis.call('HSET', own, field, decimal(n))
  else
    redis.call('HDEL', own, field)
  end
end

for _ = 1, number() do
  local key = take()
  put('+' .. key, number())
end

local slices = {}
for _ = 1, number() do
  local field = '=' .. take()
  local cap, held, need, spare = number(), number(), number(), number()
  local sum = elsewhere(field)
  local room = math.max(cap - sum - held, 0)
  need = math.min(need, room)
  spare = math.min(spare, math.floor((room - need) / (2 * (#others + 1))))
  held = held + need + spare
  put(field, held)
  slices[#slices + 1] = held
  slices[#slices + 1] = sum
end

local claims = {}
for _ = 1, number() do
  local answer, taken = {0}, {}
  for k = 1, number() do
    local field, cap = '+' .. take(), number()
    if answer[1] == 0 then
      local sum = elsewhere(field)
      answer[#answer + 1] = sum
      taken[field] = (taken[field] or 0) + 1
      if cap > 0 and sum + taken[field] + (tonumber(redis.call('HGET', own, field) or 0) or 0) > cap then
        answer[1] = k
      end
    end
  end
  if answer[1] == 0 then
    for field, more in pairs(taken) do redis.call('HINCRBY', own, field, more) end
  end
  claims[#claims + 1] = answer
end

local knocks = {}
for _ = 1, number() do
  local rate = prefix .. 'rate:' .. take()
  local every, burst = number(), number()
  burst = math.max(burst, 1) * every
  local free = tonumber(redis.call('GET', rate) or now) or now -- of the next handshake, without the burst
  local ahead = math.min(math.max(free - now, 0), burst)
  local wait = math.max(ahead + every - burst, 0)
  if wait == 0 and every > 0 then
    redis.call('SET', rate, decimal(now + ahead + every), 'PX', decimal(math.ceil((ahead + every) / 1000)))
  end
  knocks[#knocks + 1] = wait
end

local alive, records, gap = {}, {}, 0
if number() == 1 then
  local void, info, after = number(), take(), take()
  live(id, void, info)
  redis.call('ZREMRANGEBYSCORE', nodes, '-inf', decimal(now))
  for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
    local known = redis.call('HMGET', prefix .. 'node:' .. node, 't', 'i')
    if known[1] then
      alive[#alive + 1] = node
      alive[#alive + 1] = known[1]
      alive[#alive + 1] = known[2] or ''
    end
  end
  local log = prefix .. 'log'
  if after ~= '' then
    if not string.find(after, '^%d+%-%d+$') or #redis.call('XRANGE', log, after, after) == 0 then
      gap = 1
    else
      records = redis.call('XRANGE', log, '(' .. after, '+', 'COUNT', 1000)
    end
  end
end
return {slices, claims, knocks, alive, records, gap}
