-- promote.lua: take or keep the poller's lease, and move due jobs to their queues.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 limit   4 lease, ms
-- RETURNS {1, moved, µs from now to the next due or false, garbage keys...} | {0, 0, µs to the end of the other's lease}
local id, limit, lease_ms = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local now_ms, now_us = clock(ARGV[2])
local key = prefix .. 'poller'
local leader, until_ms = match(safe('GET', key) or '', '^(.*) (%d+)$')
until_ms = tonumber(until_ms or 0)
-- A lease that ends further ahead than a lease was given before the clock stepped back.
if leader and leader ~= id and until_ms > now_ms and until_ms <= now_ms + lease_ms then
  return { 0, 0, until_ms * 1000 - now_us }
end
begin()
call('SET', key, string.format('%s %d', id, now_ms + lease_ms), 'PX', lease_ms * 2)
-- Due after the last day: nobody has asked for that, and what the ticket is due at cannot be known. It is due now.
local schedule = prefix .. 'schedule'
for _, ticket in ipairs(safe('ZREVRANGEBYSCORE', schedule, '+inf', '(' .. LAST_MS, 'LIMIT', 0, 100)) do
  call('ZADD', schedule, now_ms, ticket)
end
local woken = {}
local moved = promote_due(limit, now_ms, woken)
wake(woken)
return { 1, moved, next_due(now_us), unpack(garbage) }
