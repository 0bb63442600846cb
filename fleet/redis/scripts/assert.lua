-- ARGV: the prefix, the node, the share's number as 20 digits, the number of the part
-- from 0, 1 with the last part, after how many microseconds the node is void, what the
-- others are to know of it, and fields and values.
-- Returns 0 where an earlier part is lost, 1 where the share is too late, or else 2.
local id, seq, number, last, void, info = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local part = prefix .. 'part:' .. id .. ':' .. seq
local stored = standing(id)
if stored and seq <= stored then
  redis.call('DEL', part)
  return 1
end
if number ~= '0' and redis.call('HGET', part, 'n') ~= number then
  redis.call('DEL', part)
  return 0
end
if #ARGV > 7 then redis.call('HSET', part, unpack(ARGV, 8)) end
if last ~= '1' then
  redis.call('HSET', part, 'n', number + 1)
  redis.call('PEXPIRE', part, 60000)
  return 2
end
redis.call('HDEL', part, 'n')
redis.call('HSET', part, 's', seq)
redis.call('RENAME', part, prefix .. 'node:' .. id)
live(id, void, info)
return 2
