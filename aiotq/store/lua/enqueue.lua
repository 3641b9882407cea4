-- enqueue.lua: put a batch of jobs in their lines or the schedule. Idempotent by id.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   then six a job: id, line, generation, record up to the time, record after it,
--         when ("" now | "+ms" from now | "@ms" Unix ms)
-- RETURNS a byte a job: 0 it was new | 1 this very job was there (its generation) | 2 another one was
local now_ms = clock(ARGV[1])
local stamp = string.format('%013d', now_ms)
local reply, woken, order, lines = {}, {}, {}, {}
for at = 2, #ARGV, 6 do
  local id, line, generation = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local key, record = prefix .. 'job:' .. id, ARGV[at + 3] .. stamp .. ARGV[at + 4]
  local new = call('SET', key, record, 'NX')
  local found = not new and safe('GETRANGE', key, 2, 5)
  if found == '' then new = call('SET', key, record, 'NX') end -- it was of a wrong type, and has been put aside
  if new then
    local ticket, when = line .. ':' .. generation .. ':' .. id, ARGV[at + 5]
    if when == '' then
      local tickets = lines[line]
      if not tickets then
        tickets = {}
        lines[line], order[#order + 1] = tickets, line
      end
      tickets[#tickets + 1] = ticket
    else
      local ms = tonumber(sub(when, 2))
      schedule_at(sub(when, 1, 1) == '+' and now_ms + ms or ms, ticket)
    end
    reply[#reply + 1] = '0'
  else
    reply[#reply + 1] = found == generation and '1' or '2'
  end
end
for i = 1, #order do
  local queue, place = match(order[i], '^(.*):(.)$')
  push(to_front(place), queue, place, lines[order[i]], woken)
end
wake(woken)
return table.concat(reply)
