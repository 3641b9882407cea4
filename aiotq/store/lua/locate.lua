-- locate.lua: where a waiting job is now. Writes nothing.
-- KEYS    1 prefix
-- ARGV    1 id   2 the generation that was read   3... lines that its ticket may name
-- RETURNS {now, lost, "running", worker id, its label} | {now, lost, "scheduled", due ms, line} | {now, lost, "queued"}
--         {now, lost, ""} if its record has gone, ended or changed since
local id, generation = ARGV[1], ARGV[2]
local now_ms = clock('0')
local lost = whole(safe('HGET', prefix .. 'lost', id))
local header = safe('GETRANGE', prefix .. 'job:' .. id, 0, 5)
if sub(header, 2) ~= 'w' .. generation then return { now_ms, lost, '' } end
local worker, tickets = holder(generation, id, 3)
if worker then
  return { now_ms, lost, 'running', worker, safe('HGET', prefix .. 'worker:' .. worker, 'label') or worker }
end
for i = 1, #tickets do
  local due_ms = safe('ZSCORE', prefix .. 'schedule', tickets[i])
  if due_ms then return { now_ms, lost, 'scheduled', tonumber(due_ms), ARGV[2 + i] } end
end
return { now_ms, lost, 'queued' }
