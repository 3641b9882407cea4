-- enqueue.lua: put a batch of jobs in their lines or the schedule. Idempotent by id.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   then four a job: id, line and when ("" now | "<n" now, if fewer than n wait in its queue |
--         "+ms" from now | "@ms" Unix ms) in one, record up to the time (its bytes 3 to 6 are the generation), record after it
-- RETURNS a byte a job: 0 it was new | 1 this very job was there (its generation) | 2 another one was
--         | 3 none was, and its queue is full: nothing of it was written
-- COST    a new job at batches of 100: SET, a part of RPUSH; a batch for several kinds of places: five commands more
local now_ms = clock(ARGV[1])
local stamp, jobs = string.format('%013d', now_ms), prefix .. 'job:'
local reply, woken, order, lines, places, rooms, new_in = {}, {}, {}, {}, {}, {}, {} -- new_in: how many, by queue
-- Where jobs of this line and time go: their tickets gather in it, unless they are scheduled each by itself.
local function place_of(where)
  local line, sign, ms = match(where, '^(.*:.)([@+<]?)(%-?%d*)$')
  local found = { line = line .. ':', queue = match(line, '^[^:]*') }
  if sign == '<' then -- what waits in its queue is counted once a batch, before anything is written
    found.most = tonumber(ms)
    rooms[found.queue] = rooms[found.queue] or { waiting = waiting_in(found.queue) }
  end
  if sign == '@' or sign == '+' then
    found.due_ms = tonumber(ms) + (sign == '+' and now_ms or 0)
  else
    if not lines[line] then
      lines[line] = {}
      order[#order + 1] = found
    end
    found.tickets = lines[line] -- with a bound or without, they keep one order
  end
  places[where] = found
end
local kinds, n_kinds = {}, 0 -- of commands that put tickets in their places
for at = 3, #ARGV, 4 do -- before anything is written, as a bad one raises
  local where = ARGV[at]
  if not places[where] then
    place_of(where)
    local kind = places[where].due_ms and 'ZADD' or to_front(match(where, ':(.)<?%d*$')) and 'LPUSH' or 'RPUSH'
    if not kinds[kind] then n_kinds = n_kinds + 1 end
    kinds[kind] = true
  end
end
-- A key goes by a TTL of nothing, which needs no right that a producer has not.
local function remove(key) call('PEXPIRE', key, 0) end
if n_kinds > 1 then -- with one of them refused all are, and the others have to be refused before they have done their part
  local scratch = prefix .. 'scratch'
  call('ZADD', prefix .. 'nothing', 'XX', 0, '') -- changes nothing; first, as Redis refuses it over maxmemory
  remove(scratch) -- it is not there: whoever may not remove it makes none
  or_back(function()
    for kind in pairs(kinds) do
      if kind ~= 'ZADD' then call(kind, scratch, '') end
    end
    remove(scratch)
  end, function() remove(scratch) end)
end
local function put_all()
  for at = 2, #ARGV, 4 do
    local id, head = ARGV[at], ARGV[at + 2]
    local key, record, generation = jobs .. id, head .. stamp .. ARGV[at + 3], sub(head, 3, 6)
    local place = places[ARGV[at + 1]]
    local room = rooms[place.queue]
    local full = place.most and room.waiting >= place.most and call('EXISTS', key) == 0
    local new = not full and call('SET', key, record, 'NX')
    local found = not new and not full and safe('GETRANGE', key, 2, 5)
    if found == '' then new = call('SET', key, record, 'NX') end -- it was of a wrong type, and has been put aside
    if full then
      reply[#reply + 1] = '3'
    elseif new then
      reply[#reply + 1] = '0'
      new_in[place.queue] = (new_in[place.queue] or 0) + 1
      local ticket = place.line .. generation .. ':' .. id
      if place.due_ms then
        schedule_at(place.due_ms, ticket)
      else
        local tickets = place.tickets
        tickets[#tickets + 1] = ticket
        if room then room.waiting = room.waiting + 1 end
      end
    else
      reply[#reply + 1] = found == generation and '1' or '2'
    end
  end
  for i = 1, #order do
    local queue, place = match(order[i].line, '^(.*):(.):$')
    if #order[i].tickets > 0 then push(to_front(place), queue, place, order[i].tickets, woken) end
  end
  wake(woken)
end
or_back(put_all, function() -- a record without a ticket would wait for ever, and a ticket without its record is dropped
  for i = 1, #reply do
    if reply[i] == '0' then remove(jobs .. ARGV[i * 4 - 2]) end
  end
end)
for queue, many in pairs(new_in) do counted('e:' .. queue, many, now_ms) end
return table.concat(reply)
