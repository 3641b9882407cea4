-- exchange.lua: finish a batch of jobs and claim the next, in one atomic call. The heart of a worker.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 limit of the claim   4 "1" if it may take a suspect   5 failure TTL, ms
--         6 number of queues   7 number of outcomes   8 "1" if in doubt   then the queues, then five an outcome:
--         ticket, kind, record, ms, new ticket or "1" for a dead letter
--           kind "e" ended (ms: its TTL) | "l" later, in the schedule (ms: from now) | "b" back to the front of its line
--         then, in doubt, every other ticket that the worker holds
-- RETURNS {0} reclaimed: nothing was done. Else {1, a byte an outcome ("1" stored), fence, active, now, next due µs or false,
--         dropped, {ticket, record or false, lost, "1" if cancelled, ...}, {gone...}, {ids to cancel...}, {garbage keys...}}
local id, limit, failure_ttl_ms = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[5])
local n_queues, n_outcomes, doubt = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local CHUNK, HALF_BATCH, LARGE = 64, 524288, 16384 -- 64 records of at most 16 KiB are 1 MiB
local active = prefix .. 'active:' .. id
local lease_end = safe('ZSCORE', prefix .. 'workers', id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0 } end
local now_ms, now_us = clock(ARGV[2])
local woken, dropped = {}, 0
local marks = call('EXISTS', prefix .. 'lost', prefix .. 'cancels') > 0
begin()

-- 1. Outcomes, each behind the fence: whoever removes the ticket from `active` owns it.
local stored, back = {}, {}
local first = 9 + n_queues
local function finish(at)
  local ticket, kind = ARGV[at], ARGV[at + 1]
  if safe('SREM', active, ticket) == 0 then return false end
  local job_id = match(ticket, '^[^:]*:.:....:(.+)$')
  local key = prefix .. 'job:' .. job_id
  if kind == 'b' then
    local size = safe('STRLEN', key)
    if size == 0 and call('EXISTS', key) == 0 then forget(job_id) return false end
    -- One that is too short to be a record goes back as it is: its next claimer makes a dead letter of it.
    if size >= 19 then call('SETRANGE', key, 2, sub(match(ARGV[at + 4], ':.:(....):'), 1, 4)) end
    back[#back + 1] = ARGV[at + 4]
    return true
  end
  local record = ARGV[at + 2]
  if kind == 'l' then
    if not call('SET', key, record, 'XX') then forget(job_id) return false end
    schedule_at(now_ms + tonumber(ARGV[at + 3]), ARGV[at + 4])
    return true
  end
  if marks then forget(job_id) end
  if not call('SET', key, record, 'XX', 'PX', ARGV[at + 3]) then return false end
  if ARGV[at + 4] == '1' then bury(job_id, now_ms, failure_ttl_ms) end
  call('PUBLISH', prefix .. 'done:' .. job_id, #record <= LARGE and record or '')
  return true
end
for i = 1, n_outcomes do stored[i] = finish(first + (i - 1) * 5) and '1' or '0' end
for i = #back, 1, -1 do -- backwards, so that they keep their order at the front
  local queue, place = parse(back[i])
  push(true, queue, place, { back[i] }, woken)
end

-- 2. What the claim or the doubt found: tickets, checked against their records.
local claimed, taken = {}, {}
local function drop(ticket, job_id, gone)
  dropped = dropped + 1
  if doubt then call('SREM', active, ticket) end
  if gone then forget(job_id) end
end
local function keep(ticket, job_id, record)
  taken[#taken + 1] = job_id
  local n = #claimed
  claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4] = ticket, record, 0, '0'
end
local function check(ticket, job_id, generation, record, header)
  local state, written = match(header, '^%d([wsfc])(....)%d%d%d%d%d%d%d%d%d%d%d%d%d')
  if not state then return keep(ticket, job_id, record) end -- no record of ours: its claimer makes a dead letter of it
  if state == 'w' and written == generation then return keep(ticket, job_id, record) end
  drop(ticket, job_id, false)
end
local function missing(ticket, job_id, key)
  -- Of a wrong type: put aside by GET. Empty: its claimer makes a dead letter of it.
  if call('EXISTS', key) == 1 and safe('GET', key) then return keep(ticket, job_id, '') end
  drop(ticket, job_id, true)
end
-- sources: the queue and place that each came from; nil: `active`. Returns the index of the first ticket that was not
-- looked at, once the batch is full; else nil.
local function resolve(tickets, sources)
  local bytes = 0
  for from = 1, #tickets, CHUNK do
    if bytes > HALF_BATCH then return from end
    local keys, rows = {}, {}
    for i = from, math.min(from + CHUNK - 1, #tickets) do
      local queue, _, generation, job_id = parse(tickets[i])
      if not queue then
        dropped = dropped + 1
        if doubt then call('SREM', active, tickets[i]) end
        put_aside(tickets[i], sources and prefix .. 'line:' .. sources[i][1] .. ':' .. sources[i][2] or active, now_ms)
      else
        local at = false -- one too large to come along, by its generation: its header is enough
        if sub(generation, 1, 1) ~= '!' then
          at = #keys + 1
          keys[at] = prefix .. 'job:' .. job_id
        end
        rows[#rows + 1] = { tickets[i], job_id, generation, at }
      end
    end
    local records = #keys > 0 and call('MGET', unpack(keys)) or {}
    for i = 1, #rows do
      local row = rows[i]
      local key, record = prefix .. 'job:' .. row[2], row[4] and records[row[4]]
      local header = record and sub(record, 1, 19) or ''
      if not row[4] then header = safe('GETRANGE', key, 0, 18) end
      if header == '' then
        missing(row[1], row[2], key)
      else
        if record and #record > LARGE then record = false end -- grown by another hand
        if record then bytes = bytes + #record end
        check(row[1], row[2], row[3], record, header)
      end
    end
  end
end

-- 3. In doubt: what lies in `active` and is not held is the claim; what is held and does not lie there is gone.
local gone = {}
if doubt then
  local held, lies, found = {}, {}, {}
  for i = first + n_outcomes * 5, #ARGV do held[ARGV[i]] = true end
  local members = safe('SMEMBERS', active)
  for i = 1, #members do
    lies[members[i]] = true
    if not held[members[i]] and #found < limit then found[#found + 1] = members[i] end
  end
  for i = first + n_outcomes * 5, #ARGV do
    if not lies[ARGV[i]] then gone[#gone + 1] = ARGV[i] end
  end
  resolve(found)
end

-- 4. The claim: queues in order, lines by priority; at most one suspect, and none beside another.
local paused = {}
for _, queue in ipairs(safe('SMEMBERS', prefix .. 'paused')) do paused[queue] = true end
local may_suspect, took_suspect = ARGV[4] == '1', false
if limit > 0 and not doubt then
  promote_due(limit, now_ms, woken)
  local tickets, sources = {}, {}
  for q = 9, 8 + n_queues do
    local queue = ARGV[q]
    local lines = prefix .. 'lines:' .. queue
    local places = paused[queue] and {} or safe('ZRANGE', lines, 0, 15)
    for _, place in ipairs(places) do
      local want = limit - #tickets
      if place == 's' and want > 0 then want = may_suspect and not took_suspect and 1 or 0 end
      if want > 0 then
        local line = prefix .. 'line:' .. queue .. ':' .. place
        local got = safe('LPOP', line, want) or {}
        if #got < want or call('EXISTS', line) == 0 then call('ZREM', lines, place) end
        if place == 's' and #got > 0 then took_suspect = true end
        for i = 1, #got do
          tickets[#tickets + 1] = got[i]
          sources[#tickets] = { queue, place }
        end
      end
    end
  end
  local rest = resolve(tickets, sources)
  if rest then -- full in bytes: the others go back where they were
    for i = #tickets, rest, -1 do
      push(true, sources[i][1], sources[i][2], { tickets[i] }, woken)
    end
  end
end

-- 5. What is known of the claimed, and their fence.
local fence = 0
if #taken > 0 then
  if not doubt then
    local tickets = {}
    for i = 1, #taken do tickets[i] = claimed[i * 4 - 3] end
    safe('SADD', active, unpack(tickets))
  end
  fence = safe('INCR', prefix .. 'fence')
  if marks then
    local lost, cancels = safe('HMGET', prefix .. 'lost', unpack(taken)), safe('HMGET', prefix .. 'cancels', unpack(taken))
    for i = 1, #taken do
      claimed[i * 4 - 1] = tonumber(lost[i] or 0)
      claimed[i * 4] = cancels[i] and '1' or '0'
    end
  end
end
local cancels = {}
if marks and safe('HLEN', prefix .. 'cancels') <= 300 then -- more: they come by the channel
  local all = call('HGETALL', prefix .. 'cancels')
  for i = 1, #all, 2 do
    if all[i + 1] == id then cancels[#cancels + 1] = all[i] end
  end
end

-- 6. A token on each queue that still has claimable jobs. A suspect that this worker may not take leaves none: it would spin.
for q = 9, 8 + n_queues do
  local queue = ARGV[q]
  if not paused[queue] and not woken[queue] then
    local places = safe('ZRANGE', prefix .. 'lines:' .. queue, 0, 1)
    if #places == 2 or (#places == 1 and (places[1] ~= 's' or may_suspect)) then woken[queue] = true end
  end
end
wake(woken)
return {
  1, table.concat(stored), fence, safe('SCARD', active), now_ms, next_due(now_us), dropped, claimed, gone, cancels, garbage,
}
