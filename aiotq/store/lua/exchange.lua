-- exchange.lua: finish a batch of jobs and claim the next, in one atomic call. The heart of a worker.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 limit of the claim   4 "1" if it may take a suspect   5 failure TTL, ms
--         6 number of queues   7 number of jobs that ended   8 number of other outcomes   9 "1" if in doubt
--         then the queues; three an ended job: ticket, record, its TTL in ms; five another outcome: ticket, kind, record,
--         ms, new ticket, where kind is "d" a dead letter (ms: its TTL) | "l" later, in the schedule (ms: from now)
--         | "b" back to the front of its line; then, in doubt, every other ticket that the worker holds
-- RETURNS {0} reclaimed: nothing was done. Else {1, a byte an outcome ("1" stored), fence, active, now, next due µs or false,
--         dropped, {ticket, record or false, ...}, {index of a claimed job, lost, "1" if cancelled, ...}, {gone...},
--         {ids to cancel...}, {garbage keys...}}
-- COST    a job, finished and claimed at batches of 100: SET, a part of SREM, SADD, LPOP and MGET; PUBLISH if anybody waits
local id, limit, failure_ttl_ms = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[5])
local n_queues, n_ended, n_others, doubt = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local CHUNK, HALF_BATCH, LARGE, CANCELS = 64, 524288, 16384, 300 -- 64 records of at most 16 KiB are 1 MiB
local find, AFTER_LINE = string.find, '^' .. REST
local active, jobs = prefix .. 'active:' .. id, prefix .. 'job:'
local lease_end = safe('ZSCORE', prefix .. 'workers', id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0 } end
local now_ms, now_us = clock(ARGV[2])
local woken, dropped = {}, 0
local lost_key, cancels_key, paused_key, waits_key = prefix .. 'lost', prefix .. 'cancels', prefix .. 'paused', prefix .. 'waits'
local some = call('EXISTS', lost_key, cancels_key, paused_key, waits_key) > 0 -- mostly there is none of them
local marks = some and call('EXISTS', lost_key, cancels_key) > 0
local heard = some and call('EXISTS', waits_key) > 0
begin()

-- 1. Outcomes, each behind the fence: whoever removes the ticket from `active` owns it.
local stored, back, was, buried = {}, {}, {}, 0
local ends, n_ends = {}, 0 -- the state and id of each job that has ended
local adrift = {} -- by ticket: out of `active`, and its outcome not stored
local function store_end(job_id, record, ttl_ms)
  if marks then forget(job_id) end
  if not call('SET', jobs .. job_id, record, 'XX', 'PX', ttl_ms) then return false end
  n_ends = n_ends + 1
  ends[n_ends] = sub(record, 2, 2) .. job_id
  if heard then publish('done:' .. job_id, #record <= LARGE and record or '') end
  return true
end
local function id_of(ticket) return sub(ticket, find(ticket, ':', 1, true) + 8) end -- <queue>:p:gggg:<id>
local function other(at)
  local ticket, kind = ARGV[at], ARGV[at + 1]
  if safe('SREM', active, ticket) == 0 then return false end
  adrift[ticket] = true
  local job_id = id_of(ticket)
  local key = jobs .. job_id
  if kind == 'b' then
    local size = safe('STRLEN', key)
    if size == 0 and call('EXISTS', key) == 0 then forget(job_id) return false end
    -- One that is too short to be a record goes back as it is: its next claimer makes a dead letter of it.
    if size >= 19 then call('SETRANGE', key, 2, sub(match(ARGV[at + 4], ':.:(....):'), 1, 4)) end
    back[#back + 1], was[#was + 1] = ARGV[at + 4], ticket
    return true
  end
  if kind == 'l' then
    if call('EXISTS', key) == 0 then forget(job_id) return false end
    schedule_at(now_ms + tonumber(ARGV[at + 3]), ARGV[at + 4]) -- first: should the record not follow, it is dropped
    call('SET', key, ARGV[at + 2], 'XX')
    return true
  end
  if not store_end(job_id, ARGV[at + 2], ARGV[at + 3]) then return false end
  safe('ZADD', prefix .. 'dead', now_ms, job_id)
  buried = buried + 1
  return true
end
local first = 10 + n_queues
if n_ended > 0 then
  local tickets = {}
  for i = 1, n_ended do tickets[i] = ARGV[first + (i - 1) * 3] end
  local mine, seen = safe('SMISMEMBER', active, unpack(tickets)), {}
  for i = 1, n_ended do
    local ticket, at = tickets[i], first + (i - 1) * 3
    local owned = mine[i] == 1 and not seen[ticket]
    seen[ticket] = true
    stored[i] = owned and store_end(id_of(ticket), ARGV[at + 1], ARGV[at + 2]) and '1' or '0'
  end
  safe('SREM', active, unpack(tickets)) -- last: what an error above leaves undone can be repeated
end
first = first + n_ended * 3
if n_others > 0 then
  or_back(function()
    for i = 1, n_others do
      local at, waiting = first + (i - 1) * 5, #back
      stored[#stored + 1] = other(at) and '1' or '0'
      if #back == waiting then adrift[ARGV[at]] = nil end
    end
    for i = #back, 1, -1 do -- backwards, so that they keep their order at the front
      local queue, place = parse(back[i])
      push(true, queue, place, { back[i] }, woken)
      adrift[was[i]] = nil
    end
  end, function() -- as the outcome will be repeated
    remember(ends)
    for ticket in pairs(adrift) do call('SADD', active, ticket) end
    for i = 1, #was do
      if adrift[was[i]] then call('SETRANGE', jobs .. id_of(was[i]), 2, sub(match(was[i], ':.:(....):'), 1, 4)) end
    end
  end)
end
remember(ends)
if buried > 0 then trim_dead(buried, now_ms, failure_ttl_ms) end
first = first + n_others * 5 -- of the tickets held in doubt

-- 2. What the claim or the doubt found: tickets, checked against their records.
local claimed, taken, taken_ids = {}, {}, {}
local function drop(ticket, job_id, gone)
  dropped = dropped + 1
  if doubt then call('SREM', active, ticket) end
  if gone then forget(job_id) end
end
local function keep(ticket, job_id, record)
  local n = #taken + 1
  taken[n], taken_ids[n] = ticket, job_id
  claimed[n * 2 - 1], claimed[n * 2] = ticket, record
end
-- fetched: whether MGET was asked for the record; false for one too large to come along.
local function odd(ticket, job_id, generation, record, fetched)
  local key = jobs .. job_id
  local header = record and sub(record, 1, 19) or ''
  if not fetched then header = safe('GETRANGE', key, 0, 18) end
  if header == '' then
    -- Of a wrong type: put aside by GET. Empty: its claimer makes a dead letter of it.
    if call('EXISTS', key) == 1 and safe('GET', key) then return keep(ticket, job_id, '') end
    return drop(ticket, job_id, true)
  end
  if record and #record > LARGE then record = false end -- grown by another hand
  if sub(header, 2, 6) == 'w' .. generation or not match(header, '^%d[wsfc]....%d%d%d%d%d%d%d%d%d%d%d%d%d') then
    return keep(ticket, job_id, record) -- if it is no record of ours, its claimer makes a dead letter of it
  end
  drop(ticket, job_id, false)
end
-- sources: the line that each came from; nil: `active`. Returns the index of the first ticket that was not
-- looked at, once the batch is full; else nil.
local function resolve(tickets, sources)
  local bytes = 0
  for from = 1, #tickets, CHUNK do
    if bytes > HALF_BATCH then return from end
    local keys, rows, ids, generations, places, n = {}, {}, {}, {}, {}, 0
    for i = from, math.min(from + CHUNK - 1, #tickets) do
      local ticket, source = tickets[i], sources and sources[i]
      local generation, job_id
      if source and sub(ticket, 1, source.length) == source.name then -- as nearly all: only the rest is to be parsed
        generation, job_id = match(ticket, AFTER_LINE, source.length + 1)
      else
        local _
        _, _, generation, job_id = parse(ticket)
      end
      if not generation or #ticket > LONGEST_TICKET then
        drop(ticket)
        put_aside(ticket, source and prefix .. 'line:' .. sub(source.name, 1, -2) or active, now_ms)
      else
        n = n + 1
        rows[n], ids[n], generations[n], places[n] = ticket, job_id, generation, false
        if sub(generation, 1, 1) ~= '!' then -- else too large to come along: its header is enough
          keys[#keys + 1] = jobs .. job_id
          places[n] = #keys
        end
      end
    end
    local records = #keys > 0 and call('MGET', unpack(keys)) or {}
    for i = 1, n do
      local record = places[i] and records[places[i]]
      if record and #record <= LARGE and sub(record, 2, 6) == 'w' .. generations[i] then -- as nearly all
        bytes = bytes + #record
        keep(rows[i], ids[i], record)
      else
        odd(rows[i], ids[i], generations[i], record, places[i])
      end
    end
  end
end

-- 3. In doubt: what lies in `active` and is not held is the claim; what is held and does not lie there is gone.
local gone = {}
if doubt then
  local held, lies, found = {}, {}, {}
  for i = first, #ARGV do held[ARGV[i]] = true end
  local members = safe('SMEMBERS', active)
  for i = 1, #members do
    lies[members[i]] = true
    if not held[members[i]] and #found < limit then found[#found + 1] = members[i] end
  end
  for i = first, #ARGV do
    if not lies[ARGV[i]] then gone[#gone + 1] = ARGV[i] end
  end
  resolve(found)
end

-- 4. The claim: queues in order, lines by priority; at most one suspect, and none beside another.
local paused = {}
for _, queue in ipairs(some and safe('SMEMBERS', paused_key) or {}) do paused[queue] = true end
local may_suspect, took_suspect = ARGV[4] == '1', false
local due_us = next_due(now_us)
local tickets, sources = {}, {}
local function claim()
  for q = 10, 9 + n_queues do
    local queue = ARGV[q]
    local lines = prefix .. 'lines:' .. queue
    local places = paused[queue] and {} or safe('ZRANGE', lines, 0, 15)
    for _, place in ipairs(places) do
      local want = limit - #tickets
      if not match(place, '^[%ds]$') then
        call('ZREM', lines, place)
        put_aside(place, lines, now_ms)
        want = 0
      end
      if place == 's' and want > 0 then want = may_suspect and not took_suspect and 1 or 0 end
      if want > 0 then
        local line = prefix .. 'line:' .. queue .. ':' .. place
        local got = safe('LPOP', line, want) or {}
        if place == 's' and #got > 0 then took_suspect = true end
        local name, n = queue .. ':' .. place .. ':', #tickets
        local source = { queue = queue, place = place, name = name, length = #name }
        for i = 1, #got do -- at once: what an error from here on would leave in no place is known
          tickets[n + i], sources[n + i] = got[i], source
        end
        if #got < want or call('EXISTS', line) == 0 then call('ZREM', lines, place) end
      end
    end
  end
  local rest = resolve(tickets, sources)
  for i = #tickets, rest or #tickets + 1, -1 do -- full in bytes: the others go back where they were
    push(true, sources[i].queue, sources[i].place, { tickets[i] }, woken)
    tickets[i] = nil
  end
  if #taken > 0 then safe('SADD', active, unpack(taken)) end
end
if limit > 0 and not doubt then
  if due_us and due_us <= 0 then
    promote_due(limit, now_ms, woken)
    due_us = next_due(now_us)
  end
  or_back(claim, function()
    -- To this worker, which is in doubt then and finds them; else where they were.
    if #tickets == 0 or pcall(call, 'SADD', active, unpack(tickets)) then return end
    for i = #tickets, 1, -1 do push(true, sources[i].queue, sources[i].place, { tickets[i] }, woken) end
  end)
end

-- 5. What is known of the claimed, and their fence.
local fence, known = 0, {}
if #taken > 0 then
  -- More than the last one, and no less than the clock says in µs: so it grows even where the last one has been lost.
  local last = safe('GET', prefix .. 'fence')
  local number = tonumber(last or '')
  if last and not number then garbage[#garbage + 1] = prefix .. 'fence' end
  fence = number and number < MOST and number >= now_us and number + 1 or now_us
  call('SET', prefix .. 'fence', string.format('%.0f', fence)) -- `..` would round it
  if marks then
    local lost, stops = safe('HMGET', lost_key, unpack(taken_ids)), safe('HMGET', cancels_key, unpack(taken_ids))
    for i = 1, #taken do
      if lost[i] or stops[i] then
        local n = #known
        known[n + 1], known[n + 2], known[n + 3] = i, whole(lost[i]), stops[i] and '1' or '0'
      end
    end
  end
end
local cancels = {}
local many = marks and safe('HLEN', cancels_key) or 0
if many > CANCELS then -- they come by the channel; of a part of what is in hand, another one each time, it is looked up
  local members, ids = safe('SMEMBERS', active), {}
  for i = 1, math.min(CANCELS, #members) do
    ids[i] = match(members[(now_us + i) % #members + 1], ':.:....:(.+)$') or '' -- another hand may have put anything there
  end
  local found = #ids > 0 and call('HMGET', cancels_key, unpack(ids)) or {}
  for i = 1, #ids do
    if found[i] == id then cancels[#cancels + 1] = ids[i] end
  end
elseif many > 0 then
  local all = call('HGETALL', cancels_key)
  for i = 1, #all, 2 do
    if all[i + 1] == id then cancels[#cancels + 1] = all[i] end
  end
end

-- 6. A token on each queue that still has claimable jobs. A suspect that this worker may not take leaves none: it would spin.
for q = 10, 9 + n_queues do
  local queue = ARGV[q]
  if not paused[queue] and not woken[queue] then
    local places = safe('ZRANGE', prefix .. 'lines:' .. queue, 0, 1)
    if #places == 2 or (#places == 1 and (places[1] ~= 's' or may_suspect)) then woken[queue] = true end
  end
end
wake(woken)
return {
  1, table.concat(stored), fence, safe('SCARD', active), now_ms, due_us, dropped, claimed, known, gone, cancels, garbage,
}
