-- take.lua: end jobs near the front of a line, if they are those that were read. What else lies there stays, in its order.
-- KEYS    1 prefix
-- ARGV    1 line   2 among how many tickets   3 now, Unix ms or 0   4 the generation of all new records
--         5 how many before these to leave out; then four a job: ticket, the first 19 bytes of its record, its new record, its TTL in ms
-- RETURNS {ended, by this call or by an earlier one of that generation, other tickets removed: stale, or none at all}
local line, generation, jobs = ARGV[1], ARGV[4], prefix .. 'job:'
local now_ms = clock(ARGV[3])
local queue, place = match(line, '^(.*):(.)$')
local key = prefix .. 'line:' .. line
local heard = call('EXISTS', prefix .. 'waits') > 0
local marks = call('EXISTS', prefix .. 'lost', prefix .. 'cancels') > 0
local wanted, ends, ended, removed = {}, {}, 0, 0 -- wanted: by ticket, where ARGV has the rest of it
for at = 6, #ARGV, 4 do wanted[ARGV[at]] = at end
begin()
-- Records first: should their tickets not follow, they are stale, and dropped where they are met.
local function finish(ticket, id)
  local at = wanted[ticket]
  wanted[ticket] = nil
  if not call('SET', jobs .. id, ARGV[at + 2], 'XX', 'PX', ARGV[at + 3]) then
    removed = removed + 1
  else
    ended = ended + 1
    ends[ended] = sub(ARGV[at + 2], 2, 2) .. id
    if heard then publish('done:' .. id, ARGV[at + 2]) end
  end
  if marks then forget(id) end
end
local OURS = '^%d[wsfc]....%d%d%d%d%d%d%d%d%d%d%d%d%d$'
local out = tonumber(ARGV[5])
local tickets, goes = safe('LRANGE', key, out, out + ARGV[2] - 1), {}
for i = 1, #tickets do
  local _, _, stamp, id = parse(tickets[i])
  if not id then
    put_aside(tickets[i], key, now_ms)
    goes[i], removed = true, removed + 1
  else
    local at, header = wanted[tickets[i]], safe('GETRANGE', jobs .. id, 0, 18)
    local ours = match(header, OURS)
    if at and header == ARGV[at + 1] and (not ours or sub(header, 2, 6) == 'w' .. stamp) then
      finish(tickets[i], id)
      goes[i] = true
    elseif header == '' and call('EXISTS', jobs .. id) == 0 then
      if marks then forget(id) end
      goes[i], removed = true, removed + 1
    elseif ours and sub(header, 2, 6) ~= 'w' .. stamp then
      goes[i] = true
      if not at then removed = removed + 1 end
    end
  end
end
if ended > 0 then
  counted('cancelled', ended, now_ms)
  counted('q:' .. queue, ended, now_ms)
end
local first = 1
while out == 0 and goes[first] do first = first + 1 end
if first > 1 then call('LTRIM', key, first - 1, -1) end
for i = first, #tickets do -- near the front, so it is found at once
  if goes[i] then call('LREM', key, 1, tickets[i]) end
end
if call('EXISTS', key) == 0 then
  safe('ZREM', prefix .. 'lines:' .. queue, place)
  remember(ends) -- the last ones only: a million would wash out all others
end
for ticket in pairs(wanted) do -- ended by an earlier call, or not at all
  local _, _, _, id = parse(ticket)
  if id and safe('GETRANGE', jobs .. id, 1, 5) == 'c' .. generation then ended = ended + 1 end
end
return { ended, removed }
