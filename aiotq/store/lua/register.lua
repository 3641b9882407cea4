-- register.lua: a worker comes.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 lease, ms   4... fields and values of its hash
-- RETURNS 1 registered | 0 the id is known already: take another
local id, now_ms = ARGV[1], clock(ARGV[2])
local workers, card = prefix .. 'workers', prefix .. 'worker:' .. id
if safe('ZSCORE', workers, id) then return 0 end
begin()
call('ZADD', workers, now_ms + tonumber(ARGV[3]), id)
call('DEL', card)
call('HSET', card, 'lease_ms', ARGV[3], unpack(ARGV, 4))
return 1
