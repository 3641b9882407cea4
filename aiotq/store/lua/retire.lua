-- retire.lua: a worker goes. What it still holds goes back to the front, with nothing counted against it.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 limit
-- RETURNS how many went back, and 1 if there may be more: call again; {0, 0} for a worker that is being reclaimed
local id, now_ms, limit = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3])
local workers, active = prefix .. 'workers', prefix .. 'active:' .. id
local lease_end = safe('ZSCORE', workers, id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0, 0 } end
begin()
local woken, lines, tickets = {}, {}, safe('SPOP', active, limit)
local adrift = {}
for i = 1, #tickets do adrift[tickets[i]] = true end
or_back(function()
  for i = 1, #tickets do
    local queue, place = parse(tickets[i])
    if queue then
      gather(lines, queue, place, tickets[i])
    else
      put_aside(tickets[i], active, now_ms)
      adrift[tickets[i]] = nil
    end
  end
  push_gathered(lines, woken, function(ticket) adrift[ticket] = nil end)
end, function()
  for ticket in pairs(adrift) do call('SADD', active, ticket) end
end)
wake(woken)
if call('SCARD', active) > 0 then return { #tickets, 1 } end
call('ZREM', workers, id)
call('DEL', active, prefix .. 'worker:' .. id)
free_poller(id)
return { #tickets, 0 }
