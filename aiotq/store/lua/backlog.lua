-- backlog.lua: what is left in some queues. Writes nothing.
-- KEYS    1 prefix
-- ARGV    1 first rank of the schedule to look at   2 how many   3... queues
-- RETURNS {queued, running, 1 if one of these queues has a job in that part of the schedule, 1 if the schedule ends in it}
local wanted, queued, running = {}, 0, 0
for i = 3, #ARGV do
  wanted[ARGV[i]] = true
  queued = queued + waiting_in(ARGV[i])
end
for _, worker in ipairs(safe('ZRANGE', prefix .. 'workers', 0, -1)) do
  for _, ticket in ipairs(safe('SMEMBERS', prefix .. 'active:' .. worker)) do
    if wanted[match(ticket, '^[^:]*')] then running = running + 1 end
  end
end
local from, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local tickets = safe('ZRANGE', prefix .. 'schedule', from, from + count - 1)
for i = 1, #tickets do
  if wanted[match(tickets[i], '^[^:]*')] then return { queued, running, 1, 1 } end
end
return { queued, running, 0, #tickets < count and 1 or 0 }
