-- reclaim.lua: take back jobs of a worker whose lease end is still the one that was seen: to the front, each lost once more.
-- From its second loss on a job waits in its queue's line of suspects.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 lease end that was seen, ms   4 limit
-- RETURNS 0 it is another now: nothing done | 1 some are back: call again, having seen 0 | 2 all are back, the worker is gone
--         3 its lease ended further ahead than a lease (the clock stepped back): pulled in
local id, now_ms, seen_ms, limit = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local workers, active, card = prefix .. 'workers', prefix .. 'active:' .. id, prefix .. 'worker:' .. id
local USUAL_LEASE_MS = 15000
local lease_end = safe('ZSCORE', workers, id)
if not lease_end or tonumber(lease_end) ~= seen_ms then return 0 end
if seen_ms > now_ms then
  local latest_ms = now_ms + lease_of(id, USUAL_LEASE_MS, 0)
  if seen_ms <= latest_ms then return 0 end
  begin()
  call('ZADD', workers, latest_ms, id)
  return 3
end
begin()
call('ZADD', workers, 0, id)
-- How often the job's worker has vanished, this time counted in. What is no number counts as nothing.
local function lost_again(job_id)
  local lost = prefix .. 'lost'
  safe('HLEN', lost)
  local times = redis.pcall('HINCRBY', lost, job_id, 1)
  if type(times) == 'number' then return times end
  call('HSET', lost, job_id, 1)
  return 1
end
local woken, lines, tickets = {}, {}, safe('SPOP', active, limit)
local adrift, origin, losses = {}, {}, {} -- by ticket as it is in `active`; the same by the new one; by job, as counted
for i = 1, #tickets do adrift[tickets[i]] = true end
local times_lost = 0 -- by all of them
or_back(function()
  for i = 1, #tickets do
    local queue, place, generation, job_id = parse(tickets[i])
    if not queue then
      put_aside(tickets[i], active, now_ms)
      adrift[tickets[i]] = nil
    else
      losses[job_id], times_lost = lost_again(job_id), times_lost + 1
      local ticket = tickets[i]
      if losses[job_id] >= 2 then
        place, ticket = 's', queue .. ':s:' .. generation .. ':' .. job_id
      end
      origin[ticket] = tickets[i]
      gather(lines, queue, place, ticket)
    end
  end
  push_gathered(lines, woken, function(ticket) adrift[origin[ticket]] = nil end)
end, function()
  for ticket in pairs(adrift) do
    call('SADD', active, ticket)
    local _, _, _, job_id = parse(ticket)
    local times = job_id and losses[job_id]
    if times == 1 then
      call('HDEL', prefix .. 'lost', job_id)
    elseif times then
      call('HSET', prefix .. 'lost', job_id, times - 1)
    end
  end
end)
if times_lost > 0 then counted('lost', times_lost, now_ms) end
wake(woken, 2) -- one that is frozen or cut off may still wait for a token, and takes the first to nowhere
if call('SCARD', active) > 0 then return 1 end
call('ZREM', workers, id)
call('DEL', active, card)
free_poller(id)
return 2
