-- ARGV: the prefix.
-- Returns the log's last position, 1 where the log was empty, and the kinds of records.
local log = prefix .. 'log'
local fresh, last = 0, redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
local position
if #last == 0 then
  fresh, position = 1, redis.call('XADD', log, '*', '', '')
else
  position = last[1][1]
end
return {position, fresh, redis.call('SMEMBERS', prefix .. 'kinds')}
