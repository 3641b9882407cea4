-- tally.lua: what a worker has counted of late, and how it does. All of it is for people to look at: a part that can't be
-- written is left out, and fails nothing.
-- KEYS    1 prefix
-- ARGV    1 worker id   2 now, Unix ms or 0   3 number of this tally   4 vitals, JSON, or ""   5 number of counters
--         then two a counter: field, how many more; four a failure: `<task>\0<error type>`, how many, "true" if the last one was
--         its job's last attempt (else "false"), the end of its JSON: `"id":...,"message":...}`
-- RETURNS {1, {garbage keys...}} counted, or this tally has been counted before | {0, {...}} no such worker: nothing was done
local id, now_ms, number, vitals = ARGV[1], clock(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local MOST_FAILURES, MOST_HOURS, WEEK_MS, HOUR_MS = 200, 168, 604800000, 3600000
local MOST_FOLDED, LOOK_BACK = 500, 180 -- counters in a call; minutes
local HOUR_TTL_MS, DAY_TTL_MS = 691200000, 34560000000 -- 8 days, 400 days
local card, failures = prefix .. 'worker:' .. id, prefix .. 'failures'
local lease_end = safe('ZSCORE', prefix .. 'workers', id)
if not lease_end or tonumber(lease_end) <= 0 then return { 0, garbage } end
local n_counters = tonumber(ARGV[5])
local first_failure = 6 + 2 * n_counters
local news = #ARGV > 5 and number > whole(safe('HGET', card, 'told'))
begin()
-- First of all: what is not counted then is missing, and what were counted without it might be counted twice.
if news then safe('HSET', card, 'told', ARGV[3]) end
if vitals ~= '' then pcall(safe, 'HSET', card, 'vitals', vitals) end

-- 1. Counters, in this minute. Many at once: `increase` for each of them would take five times as long.
local function add_all(key, names, more, ttl_ms)
  local length, row, beyond = safe('HLEN', key), {}, {}
  local was = call('HMGET', key, unpack(names))
  for i = 1, #names do
    local others = not was[i] and length >= MOST_COUNTED and others_of(names[i])
    if others and names[i] ~= others then
      beyond[others] = (beyond[others] or 0) + more[i]
    else
      if not was[i] then length = length + 1 end
      row[#row + 1], row[#row + 2] = names[i], string.format('%.0f', whole(whole(was[i]) + more[i]))
    end
  end
  if #row > 0 then call('HSET', key, unpack(row)) end
  for others, many in pairs(beyond) do increase(key, others, many, ttl_ms) end
  call('PEXPIRE', key, ttl_ms)
end
-- Names and numbers, as far as they are counters. at: gives the name and the number of one.
local function counters(many, at)
  local names, more = {}, {}
  for i = 1, many do
    local name, number_of = at(i)
    if #name <= 300 and #number_of <= 15 and match(number_of, '^[1-9]%d*$') then
      names[#names + 1], more[#more + 1] = name, tonumber(number_of)
    end
  end
  return names, more
end
local function key_of(period, ordinal) return string.format('%sstats:%s:%.0f', prefix, period, ordinal) end
local minute = math.floor(now_ms / 60000)
local function count_all()
  local names, more = counters(n_counters, function(i) return ARGV[4 + 2 * i], ARGV[5 + 2 * i] end)
  if #names > 0 then add_all(key_of('m', minute), names, more, MINUTE_TTL_MS) end
end

-- 2. Failures, in the form in which they are kept: {"n":3,"at":1795439224123,"dead":true,"hours":{"498733":3},"id":"...", ...}
local HEAD = '^{"n":(%d+),"at":(%d+),"dead":%a+,"hours":{([%d":,]*)},'
-- Of a field as it was: how many, and the hours that are not too old. What is none of ours counts as nothing.
local function kept(value, hour)
  local times, _, hours = match(value or '', HEAD)
  local found = {}
  for name, many in string.gmatch(hours or '', '"(%d+)":(%d+)') do
    if tonumber(name) > hour - MOST_HOURS and tonumber(name) < hour then found[#found + 1] = '"' .. name .. '":' .. many end
  end
  return whole(times), whole(match(hours or '', string.format('"%.0f":(%%d+)', hour))), found
end
-- Room for `lacking` new fields: of the others, but for those that stay, the ones that failed longest ago go.
local function make_room(lacking, staying)
  local all, rows = call('HGETALL', failures), {}
  for i = 1, #all, 2 do
    local _, at = match(all[i + 1], HEAD)
    if not staying[all[i]] then rows[#rows + 1] = { name = all[i], at = tonumber(at or 0) } end
  end
  table.sort(rows, function(one, other) return one.at < other.at end)
  local going = {}
  for i = 1, math.min(lacking, #rows) do going[i] = rows[i].name end
  if #going > 0 then call('HDEL', failures, unpack(going)) end
end
local function note_failures()
  call('PEXPIRE', failures, WEEK_MS) -- who may not say so writes none: else it would be left without an end
  local length = safe('HLEN', failures)
  if length > 2 * MOST_FAILURES then -- by another hand: too many to be looked through
    call('RENAME', failures, prefix .. 'aside:failures')
    call('PEXPIRE', prefix .. 'aside:failures', ASIDE_TTL_MS)
    garbage[#garbage + 1], length = failures, 0
  end
  local names = {}
  for at = first_failure, #ARGV, 4 do names[#names + 1] = ARGV[at] end
  local was, fresh, staying = call('HMGET', failures, unpack(names)), 0, {}
  for i = 1, #names do
    if not was[i] then fresh = fresh + 1 end
    staying[names[i]] = true
  end
  if length + fresh > MOST_FAILURES then make_room(length + fresh - MOST_FAILURES, staying) end
  local hour = math.floor(now_ms / HOUR_MS)
  for i = 1, #names do
    local at = first_failure + (i - 1) * 4
    local times, of_hour, hours = kept(was[i], hour)
    local more = whole(ARGV[at + 1])
    hours[#hours + 1] = string.format('"%.0f":%.0f', hour, of_hour + more)
    call('HSET', failures, names[i], string.format('{"n":%.0f,"at":%.0f,"dead":%s,"hours":{%s},', times + more, now_ms,
      ARGV[at + 2], table.concat(hours, ',')) .. ARGV[at + 3])
  end
  call('PEXPIRE', failures, WEEK_MS)
end
if news then
  pcall(count_all)
  if first_failure <= #ARGV then pcall(note_failures) end
end

-- 3. Minutes that are over are counted in their hours and days, each once: it is marked, since a clock may step back.
local function fold(past)
  local key = key_of('m', past)
  local length = safe('HLEN', key)
  if length == 0 or length > 2 * MOST_COUNTED or call('HGET', key, 'folded') then return 0 end
  local all = call('HGETALL', key)
  call('HSET', key, 'folded', 1)
  local names, more = counters(#all / 2, function(i) return all[2 * i - 1], all[2 * i] end)
  if #names > 0 then
    pcall(add_all, key_of('h', math.floor(past / 60)), names, more, HOUR_TTL_MS)
    pcall(add_all, key_of('d', math.floor(past / 1440)), names, more, DAY_TTL_MS)
  end
  return length
end
local function fold_all()
  local mark, folded = prefix .. 'stats:folded', 0
  local last = whole(safe('GET', mark))
  if last == minute - 1 then return end
  for past = last < minute and math.max(last + 1, minute - LOOK_BACK) or minute - 1, minute - 1 do
    if folded >= MOST_FOLDED then break end
    folded, last = folded + fold(past), past
  end
  call('SET', mark, string.format('%.0f', last), 'PX', MINUTE_TTL_MS)
end
pcall(fold_all)
return { 1, garbage }
