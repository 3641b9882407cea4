-- renew.lua: a heartbeat. Lengthens the lease of a worker that is alive (late is not dead: only reclaim ends a worker).
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 lease, ms
-- RETURNS {1, now, {odd...}, {garbage keys...}} renewed; odd: id, lease end and lease of workers whose lease has ended or ends
--         further ahead than that, at most 100
--         {0, now} reclaimed: drop what is in hand and start under a new id
local id, now_ms, lease_ms = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3])
local workers = prefix .. 'workers'
local lease_end = safe('ZSCORE', workers, id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0, now_ms } end
begin()
call('ZADD', workers, now_ms + lease_ms, id)
local reply = {}
-- A lease end that is no time (infinite, a fraction, below 0) becomes one, so that it can be seen again and reclaimed. What is
-- no worker's id would stand here for ever, before those that are.
local function add(odd)
  for i = 1, #odd, 2 do
    local member, end_ms = odd[i], whole(odd[i + 1])
    if #member > 128 or not match(member, '^[%w_.:-]+$') then
      call('ZREM', workers, member)
      put_aside(member, workers, now_ms)
    else
      if tonumber(odd[i + 1]) ~= end_ms then call('ZADD', workers, end_ms, member) end
      local own_ms = lease_of(member, lease_ms, lease_ms) -- each may have been given another
      if end_ms <= now_ms or end_ms > now_ms + own_ms then
        local n = #reply
        reply[n + 1], reply[n + 2], reply[n + 3] = member, end_ms, own_ms
      end
    end
  end
end
add(call('ZRANGEBYSCORE', workers, '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, 50))
add(call('ZREVRANGEBYSCORE', workers, '+inf', '(' .. (now_ms + lease_ms), 'WITHSCORES', 'LIMIT', 0, 50))
return { 1, now_ms, reply, garbage }
