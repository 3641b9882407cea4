-- lib.lua: what the scripts share; put in front of each of them as it is loaded, and no script by itself.
-- KEYS    1 prefix of every key, "{namespace}:"; keys are built from it, so they stay in its hash slot
-- ARGV    none
-- RETURNS nothing
local call, match, sub = redis.call, string.match, string.sub
local prefix = KEYS[1]
local TOKEN_TTL_MS = 60000
local ASIDE_TTL_MS = 2592000000 -- 30 days
local MOST = 9007199254740991   -- the largest whole number up to which a double has them all
local LAST_MS = 253402300800000 -- the end of the year 9999: nothing that aiotq writes is due later
local LONGEST_LEASE_MS = 3600000 -- an hour
local LONGEST_TICKET = 200      -- a queue of 64, an id of 128, a generation of 4, a place, three colons
local garbage = {}              -- keys in which something was found that is not ours

-- The time: Unix ms, and µs. A passed time of 0 means Redis's clock.
local function clock(passed)
  local ms = tonumber(passed)
  if ms ~= 0 then return ms, ms * 1000 end
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000), t[1] * 1000000 + t[2]
end

-- At maxmemory Redis refuses a script whose first write may grow, and lets one run whole that begins with one that can't.
local function begin() call('SREM', prefix .. 'nothing', '') end

-- Redis rolls nothing back: should a user lose a right halfway through, what has left one place and not come to the next
-- goes back by `undo`, before the error is raised.
local function or_back(act, undo)
  local ok, reply = pcall(act)
  if ok then return reply end
  pcall(undo)
  -- Caught, an error is its text alone, and raised again it would be an ERR. Of 6.2 it keeps the text that it had.
  if type(reply) == 'string' and not match(reply, '^@') then reply = { err = reply } end
  error(reply, 0)
end

-- A command on a key that may be of a wrong type: such a key is renamed aside, and the command repeated.
local function safe(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(tostring(reply.err), 'WRONGTYPE', 1, true) then -- (fakeredis gives bytes)
    local name = sub(key, #prefix + 1)
    call('RENAME', key, prefix .. 'aside:' .. name)
    call('PEXPIRE', prefix .. 'aside:' .. name, ASIDE_TTL_MS)
    garbage[#garbage + 1] = key
    local queue = match(name, '^lines:(.*)$') -- it named lines that hold jobs: nobody would find these
    for rank = -1, queue and 9 or -2 do
      local place = rank < 0 and 's' or tostring(rank)
      local length = redis.pcall('LLEN', prefix .. 'line:' .. queue .. ':' .. place) -- an error: it is of a wrong type too
      if type(length) == 'number' and length > 0 then call('ZADD', key, rank, place) end
    end
  end
  return call(command, key, ...) -- any other error is raised by this
end

-- A number that somebody else may have written: whole, from 0 to MOST. What is none is 0.
local function whole(value)
  local number = tonumber(value)
  if not number or number ~= number or number < 0 then return 0 end
  return math.floor(math.min(number, MOST))
end

-- Of what was just put among the dead letters: their TTL is renewed, and for each new one the two oldest go if their records
-- have gone, or if they are garbage put aside too long ago. So there are never many more than can be read.
local function trim_dead(buried, now_ms, ttl_ms)
  local dead = prefix .. 'dead'
  if call('PTTL', dead) < ttl_ms then call('PEXPIRE', dead, ttl_ms) end
  local oldest, spared = call('ZRANGE', dead, 0, 2 * buried - 1, 'WITHSCORES'), 0
  for i = 1, #oldest, 2 do
    if spared == 2 then return end
    local kept
    if sub(oldest[i], 1, 1) == '!' then
      kept = tonumber(oldest[i + 1]) + ASIDE_TTL_MS > now_ms
    else
      kept = call('EXISTS', prefix .. 'job:' .. oldest[i]) == 1
    end
    if kept then spared = spared + 1 else call('ZREM', dead, oldest[i]) end
  end
end

-- Among the dead letters.
local function bury(member, now_ms, ttl_ms)
  safe('ZADD', prefix .. 'dead', now_ms, member)
  trim_dead(1, now_ms, ttl_ms)
end

-- Bytes that are no ticket: kept among the dead letters under the key they were found in (an id never holds a "!").
local function put_aside(bytes, key, now_ms)
  bury('!' .. sub(key, #prefix + 1) .. '!' .. sub(bytes, 1, 1024), now_ms, ASIDE_TTL_MS)
  garbage[#garbage + 1] = key
end

-- A token on a wake list: "somebody look". There is at most one, or `most`. A hint: where none may be left, nothing fails.
local function leave_token(name, most)
  local key = prefix .. 'wake:' .. name
  local lacking = (most or 1) - safe('LLEN', key)
  if lacking <= 0 then return end
  for _ = 1, lacking do call('RPUSH', key, '1') end
  call('PEXPIRE', key, TOKEN_TTL_MS)
end
local function token(name, most) pcall(leave_token, name, most) end
local POLLER = ':poller' -- no queue's name has a colon

-- A ticket's queue, place, generation and id; nil if it is none. A place is a priority 0-9, a-j for the front of one, or s.
local REST = '([%w_!-][%w_-][%w_-][%w_-]):([%w_.:-]+)$'
local TICKET = '^([%w_.-]+):([%da-js]):' .. REST
local function parse(ticket)
  if #ticket <= LONGEST_TICKET then return match(ticket, TICKET) end
end

-- The place of a line, and its rank in `lines`; a ticket of a to j goes to the front of 0 to 9.
local function rank(place)
  if place == 's' then return place, -1 end
  local byte = string.byte(place)
  if byte >= 97 then return tostring(byte - 97), byte - 97 end
  return place, byte - 48
end

-- Whether a ticket of that place goes to the front of its line when it is put there: those of a to j (LIFO).
local function to_front(place) return place >= 'a' and place ~= 's' end

-- Put tickets in a line of a queue, one after the other; `woken` collects the queues that need a token. If a command is
-- refused, none of them is there: the name among `queues`, which comes after them, is a hint for people and undoes nothing.
local function push(front, queue, place, tickets, woken)
  local where, score = rank(place)
  local well = #garbage
  local new = safe('ZADD', prefix .. 'lines:' .. queue, score, where) == 1 or #garbage > well -- or only just mended
  safe(front and 'LPUSH' or 'RPUSH', prefix .. 'line:' .. queue .. ':' .. where, unpack(tickets))
  if new then pcall(safe, 'SADD', prefix .. 'queues', queue) end
  woken[queue] = true
end

-- Gather tickets by their line, and push each line's at once to its front; in no order, as a set's members have none.
local function gather(lines, queue, place, ticket)
  local name = queue .. ':' .. place
  local line = lines[name]
  if not line then
    line = { queue, place, {} }
    lines[name], lines[#lines + 1] = line, line
  end
  local tickets = line[3]
  tickets[#tickets + 1] = ticket
end
local function push_gathered(lines, woken, pushed)
  for i = 1, #lines do
    local tickets = lines[i][3]
    push(true, lines[i][1], lines[i][2], tickets, woken)
    for j = 1, #tickets do pushed(tickets[j]) end
  end
end

-- How many tickets wait in a queue's lines, those of all priorities.
local function waiting_in(queue)
  local count, places = 0, safe('ZRANGE', prefix .. 'lines:' .. queue, 0, 15)
  for i = 1, #places do count = count + safe('LLEN', prefix .. 'line:' .. queue .. ':' .. places[i]) end
  return count
end

local function wake(woken, most)
  for queue in pairs(woken) do token(queue, most) end
end

-- Move up to `limit` due tickets from the schedule to their lines. Returns how many were moved.
local function promote_due(limit, now_ms, woken)
  local schedule = prefix .. 'schedule'
  local due = safe('ZRANGEBYSCORE', schedule, '-inf', now_ms, 'LIMIT', 0, limit)
  if #due == 0 then return 0 end
  call('ZADD', prefix .. 'nothing', 'XX', 0, '') -- changes nothing; without the right to it nothing could be put back
  call('ZREM', schedule, unpack(due))
  local batch, first = {}, 1 -- the first that is in no place
  local last, front, queue_of, place_of
  local function move()
    for i = 1, #due do
      local queue, place = parse(due[i])
      if not queue then
        put_aside(due[i], schedule, now_ms)
      else
        local line = queue .. ':' .. place
        if line ~= last then
          if #batch > 0 then push(front, queue_of, place_of, batch, woken) end
          batch, first, last, queue_of, place_of = {}, i, line, queue, place
          front = to_front(place)
        end
        batch[#batch + 1] = due[i]
      end
    end
    if #batch > 0 then push(front, queue_of, place_of, batch, woken) end
  end
  or_back(move, function()
    for i = first, #due do call('ZADD', schedule, now_ms, due[i]) end
  end)
  return #due
end

-- The time from now to the next due ticket, µs; false if the schedule is empty.
local function next_due(now_us)
  local first = safe('ZRANGE', prefix .. 'schedule', 0, 0, 'WITHSCORES')
  if #first == 0 then return false end
  return math.max(-MOST, math.min(first[2] * 1000 - now_us, MOST)) -- a score may be infinite, and no integer can be
end

-- Put a ticket in the schedule; the poller gets a token if nothing was due earlier.
local function schedule_at(due_ms, ticket)
  local schedule = prefix .. 'schedule'
  local first = safe('ZRANGE', schedule, 0, 0, 'WITHSCORES')
  call('ZADD', schedule, due_ms, ticket)
  if #first == 0 or due_ms < tonumber(first[2]) then token(POLLER) end
end

-- Of a worker that goes: if it was the poller, another one need not wait for the end of its lease.
local function free_poller(id)
  local poller = prefix .. 'poller'
  if match(safe('GET', poller) or '', '^(.*) %d+$') == id then call('DEL', poller) end
end

-- A hint, that may fail (a user without a right to the channel) and undoes nothing.
local function publish(channel, message) redis.pcall('PUBLISH', prefix .. channel, message) end

-- What is kept beside a job goes with it.
local function forget(id)
  safe('HDEL', prefix .. 'lost', id)
  safe('HDEL', prefix .. 'cancels', id)
end

-- Count in a hash of counters, whose TTL is renewed by each new field. What is no number there begins anew; of names that are
-- too many one stands for the others. by: a whole number above 0, or its digits.
local MOST_COUNTED = 500
local MINUTE_TTL_MS = 10800000 -- 3 hours
local function others_of(field) -- the name that stands for those which are like this one; nil: it has to have its own
  local family = match(field, '^[eq]:') or match(field, '^t:.:') or match(field, '^tm:')
  return family and family .. '(other)'
end
local function increase(key, field, by, ttl_ms)
  local ok, now = pcall(safe, 'HINCRBY', key, field, by)
  if not ok then
    local was = call('HGET', key, field)
    if not was or match(was, '^%d+$') and #was <= 15 then error(now, 0) end -- it was not for that
    call('HSET', key, field, by)
  elseif now ~= tonumber(by) then
    return
  elseif call('HLEN', key) > MOST_COUNTED then
    local others = others_of(field)
    if others and field ~= others then
      call('HDEL', key, field)
      return increase(key, others, by, ttl_ms)
    end
  end
  call('PEXPIRE', key, ttl_ms)
end

-- Of this minute. A hint, as a token is: where nothing can be counted, nothing fails.
local function counted(field, by, now_ms)
  pcall(increase, string.format('%sstats:m:%.0f', prefix, math.floor(now_ms / 60000)), field, by, MINUTE_TTL_MS)
end

-- What has ended, newest first: state and id of each, of these the last 10,000. A hint as well.
local RING, RING_SLACK = 10000, 1000
local function keep_ended(entries)
  local ended = prefix .. 'ended'
  local length = safe('LPUSH', ended, unpack(entries))
  if length <= RING + RING_SLACK then return end
  if not pcall(call, 'LTRIM', ended, 0, RING - 1) then call('PEXPIRE', ended, 0) end
end
local function remember(entries)
  if #entries > 0 then pcall(keep_ended, entries) end
end

-- The audit's entry of the same act as this one, if it is among the latest: both end with the stamp of that act.
local function entry_of(entry)
  local stamp = match(entry, '"stamp":"%x+"}$')
  local latest = stamp and safe('LRANGE', prefix .. 'audit', 0, 99) or {}
  for i = 1, #latest do
    if sub(latest[i], -#stamp) == stamp then return latest[i] end
  end
end

-- What a person did, newest first: of these the last 10,000. entry: JSON without its "{".
local function keep_entry(entry, now_ms)
  local audit = prefix .. 'audit'
  safe('LTRIM', audit, 0, 9998)
  call('LPUSH', audit, string.format('{"at":%.0f,', now_ms) .. entry)
end

-- Each act has one entry, the first that comes: it is repeated if its answer was lost. entry: or nothing.
local function audited(entry, now_ms)
  if entry and entry ~= '' and not entry_of(entry) then keep_entry(entry, now_ms) end
end

-- A worker's lease by its card, ms; `none` if it has no card. What nobody can have been given, by another hand, is `usual`.
local function lease_of(id, usual, none)
  local said = safe('HGET', prefix .. 'worker:' .. id, 'lease_ms')
  if not said then return none end
  local ms = whole(said)
  return ms >= 1 and ms <= LONGEST_LEASE_MS and ms or usual
end

-- Which worker holds a job: its id, or nil. ARGV from `first` on: the lines that its ticket may name.
local function holder(generation, id, first)
  local tickets = {}
  for i = first, #ARGV do tickets[#tickets + 1] = ARGV[i] .. ':' .. generation .. ':' .. id end
  local workers = safe('ZRANGE', prefix .. 'workers', 0, -1)
  for i = 1, #workers do
    local held = safe('SMISMEMBER', prefix .. 'active:' .. workers[i], unpack(tickets))
    for j = 1, #held do
      if held[j] == 1 then return workers[i], tickets end
    end
  end
  return nil, tickets
end
