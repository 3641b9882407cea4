-- register.lua: a worker comes.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 lease, ms   4 its former ids, with commas   5... fields and values of its hash
-- RETURNS 1 registered | 0 the id is known already: take another
local id, now_ms = ARGV[1], clock(ARGV[2])
local workers, card = prefix .. 'workers', prefix .. 'worker:' .. id
if safe('ZSCORE', workers, id) then return 0 end
begin()
call('ZADD', workers, now_ms + tonumber(ARGV[3]), id)
call('DEL', card)
call('HSET', card, 'lease_ms', ARGV[3], 'started', string.format('%.0f', now_ms), unpack(ARGV, 5))
-- Nobody reclaims one that `workers` does not name any more (evicted, or deleted by hand), with all that it holds.
for former in string.gmatch(ARGV[4], '[^,]+') do
  local left = call('EXISTS', prefix .. 'active:' .. former, prefix .. 'worker:' .. former) > 0
  if left and not call('ZSCORE', workers, former) then call('ZADD', workers, 0, former) end
end
return 1
