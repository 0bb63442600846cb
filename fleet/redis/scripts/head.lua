-- KEYS[1] is the sorted set of the nodes, with when each is void, in microseconds. All
-- keys begin with ARGV[1], whose hash tag keeps them in one slot. The hash of a node has
-- the fields s (number of the last batch), t (of the last beat), i (what others are to
-- know of it), and, for each key, + with a count and = with a part of a cap.
local nodes = KEYS[1]
local prefix = ARGV[1]
