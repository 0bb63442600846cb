-- decimal writes a whole number in full; Lua's own way has 14 digits.
local function decimal(n) return string.format('%.0f', n) end

-- standing returns the number of the node's last batch, if it lives.
local function standing(id)
  local void = redis.call('ZSCORE', nodes, id)
  if not void or tonumber(void) <= now then return false end
  return redis.call('HGET', prefix .. 'node:' .. id, 's')
end

-- live notes that the node gave a sign of life, and is void after some microseconds.
local function live(id, void, info)
  local own = prefix .. 'node:' .. id
  redis.call('HSET', own, 't', decimal(now), 'i', info)
  redis.call('PEXPIREAT', own, decimal(math.ceil((now + void) / 1000)))
  redis.call('ZADD', nodes, decimal(now + void), id)
  -- what nobody uses any more goes by itself
  redis.call('PEXPIRE', nodes, decimal(86400000 + math.ceil(void / 1000)))
end
