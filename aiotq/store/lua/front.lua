-- front.lua: tickets near the front of a line, and of each record what tells how to end it. Writes nothing.
-- KEYS    1 prefix
-- ARGV    1 line   2 how many   3 bytes of each record's beginning   4 bytes of its end   5 how many to leave out
-- RETURNS {now, tickets in the line, ticket, beginning, end, ...}; empty strings where there is no record, or where the end
--         is in the beginning
local key = prefix .. 'line:' .. ARGV[1]
local reply = { (clock('0')), safe('LLEN', key) }
for _, ticket in ipairs(safe('LRANGE', key, ARGV[5], ARGV[5] + ARGV[2] - 1)) do
  local _, _, _, id = parse(ticket)
  local job, n = prefix .. 'job:' .. (id or ''), #reply
  reply[n + 1] = ticket
  local beginning = id and safe('GETRANGE', job, 0, ARGV[3] - 1) or ''
  reply[n + 2] = beginning
  reply[n + 3] = #beginning == tonumber(ARGV[3]) and safe('GETRANGE', job, -ARGV[4], -1) or ''
end
return reply
