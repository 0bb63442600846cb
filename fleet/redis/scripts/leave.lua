-- ARGV: the prefix, and the node.
redis.call('ZREM', nodes, ARGV[2])
redis.call('DEL', prefix .. 'node:' .. ARGV[2])
return 1
