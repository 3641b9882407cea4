-- renew.lua: a heartbeat. Lengthens the lease of a worker that is alive (late is not dead: only reclaim ends a worker).
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 lease, ms
-- RETURNS {1, now, odd...} renewed; odd: id, lease end of workers whose lease has ended or ends too far ahead, at most 100
--         {0, now}         reclaimed: drop what is in hand and start under a new id
local id, now_ms, lease_ms = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3])
local workers = prefix .. 'workers'
local lease_end = safe('ZSCORE', workers, id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0, now_ms } end
call('ZREM', workers, id) -- first, as Redis allows it over maxmemory and then lets the script run whole
call('ZADD', workers, now_ms + lease_ms, id)
local reply = { 1, now_ms }
local function add(odd)
  for i = 1, #odd do reply[#reply + 1] = odd[i] end
end
add(call('ZRANGEBYSCORE', workers, '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, 50))
add(call('ZREVRANGEBYSCORE', workers, '+inf', '(' .. (now_ms + lease_ms), 'WITHSCORES', 'LIMIT', 0, 50))
return reply
