-- ARGV: the prefix, how many entries the log has at most, and kind, id, 1 or 0 for a
-- record that was deleted, and data of each record.
for at = 3, #ARGV, 4 do
  local kind, id, kept, data = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1', ARGV[at + 3]
  local log = prefix .. 'log'
  if kept then
    redis.call('HSET', prefix .. 'records:' .. kind, id, data)
    redis.call('SADD', prefix .. 'kinds', kind)
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[2], '*', 'k', kind, 'i', id, 'd', data)
  else
    redis.call('HDEL', prefix .. 'records:' .. kind, id)
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[2], '*', 'k', kind, 'i', id)
  end
end
return 1
