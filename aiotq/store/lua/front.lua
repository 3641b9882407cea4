-- front.lua: the first tickets of a line, and of each record what tells how to end it. Writes nothing.
-- KEYS    1 prefix
-- ARGV    1 line   2 how many   3 bytes of each record's beginning   4 bytes of its end
-- RETURNS {now, tickets in the line, ticket, beginning, end, ...}; empty strings where there is no record
local key = prefix .. 'line:' .. ARGV[1]
local reply = { (clock('0')), safe('LLEN', key) }
for _, ticket in ipairs(safe('LRANGE', key, 0, tonumber(ARGV[2]) - 1)) do
  local _, _, _, id = parse(ticket)
  local job, n = prefix .. 'job:' .. (id or ''), #reply
  reply[n + 1] = ticket
  reply[n + 2] = id and safe('GETRANGE', job, 0, tonumber(ARGV[3]) - 1) or ''
  reply[n + 3] = id and safe('GETRANGE', job, -tonumber(ARGV[4]), -1) or ''
end
return reply
