-- enqueue.lua: put a batch of jobs in their lines or the schedule. Idempotent by id.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   then four a job: id, line and when ("" now | "+ms" from now | "@ms" Unix ms) in one,
--         record up to the time (its bytes 3 to 6 are the generation), record after it
-- RETURNS a byte a job: 0 it was new | 1 this very job was there (its generation) | 2 another one was
-- COST    a new job at batches of 100: SET, a part of RPUSH
local now_ms = clock(ARGV[1])
local stamp, jobs = string.format('%013d', now_ms), prefix .. 'job:'
local reply, woken, order, lines = {}, {}, {}, {}
-- Where jobs of this line and time go: their tickets gather in it, unless they are scheduled each by itself.
local function place_of(where)
  local line, sign, ms = match(where, '^(.*:.)([@+]?)(%-?%d*)$')
  local found = { line = line .. ':', tickets = {} }
  if sign ~= '' then
    found.due_ms = tonumber(ms) + (sign == '+' and now_ms or 0)
  else
    order[#order + 1] = found
  end
  lines[where] = found
end
for at = 3, #ARGV, 4 do -- before anything is written, as a bad one raises
  if not lines[ARGV[at]] then place_of(ARGV[at]) end
end
for at = 2, #ARGV, 4 do
  local id, head = ARGV[at], ARGV[at + 2]
  local key, record, generation = jobs .. id, head .. stamp .. ARGV[at + 3], sub(head, 3, 6)
  local new = call('SET', key, record, 'NX')
  local found = not new and safe('GETRANGE', key, 2, 5)
  if found == '' then new = call('SET', key, record, 'NX') end -- it was of a wrong type, and has been put aside
  if new then
    local place = lines[ARGV[at + 1]]
    local ticket = place.line .. generation .. ':' .. id
    if place.due_ms then
      schedule_at(place.due_ms, ticket)
    else
      local tickets = place.tickets
      tickets[#tickets + 1] = ticket
    end
    reply[#reply + 1] = '0'
  else
    reply[#reply + 1] = found == generation and '1' or '2'
  end
end
for i = 1, #order do
  local queue, place = match(order[i].line, '^(.*):(.):$')
  if #order[i].tickets > 0 then push(to_front(place), queue, place, order[i].tickets, woken) end
end
wake(woken)
return table.concat(reply)
