-- replace.lua: compare and set of a record that no worker holds. Its old ticket in a line is left to be dropped.
-- KEYS    1 prefix
-- ARGV    1 id   2 now, Unix ms or 0   3 state and generation that were read   4 new record   5 its generation   6 TTL, ms, or ""
--         7 new line, or ""   8 ms from now, for the schedule, or ""   9 "1" if how often its worker vanished is forgotten
--         10 for the audit, or ""   11... lines that the old ticket may name
-- RETURNS 0 done, or already as wanted | 1 a worker holds the job | 2 the record is another now, or gone
local id, generation, wanted = ARGV[1], sub(ARGV[3], 2), ARGV[5]
local now_ms = clock(ARGV[2])
local key = prefix .. 'job:' .. id
local found = safe('GETRANGE', key, 1, 5)
if sub(found, 2) == wanted then return 0 end
if found ~= ARGV[3] then return 2 end -- an end keeps the generation, and no end is changed
local worker, tickets = holder(generation, id, 11)
if worker then return 1 end
begin()
-- These change nothing; without the right to one of them the act would be half done.
call('ZREM', prefix .. 'nothing', '')
call('HDEL', prefix .. 'nothing', '')
local woken = {}
-- Its new ticket comes first: should the record not follow, it is dropped, and a record without one would wait for ever.
if ARGV[8] ~= '' then
  schedule_at(now_ms + tonumber(ARGV[8]), ARGV[7] .. ':' .. wanted .. ':' .. id)
elseif ARGV[7] ~= '' then
  local queue, place = match(ARGV[7], '^(.*):(.)$')
  push(to_front(place), queue, place, { ARGV[7] .. ':' .. wanted .. ':' .. id }, woken)
end
if ARGV[6] ~= '' then
  call('SET', key, ARGV[4], 'XX', 'PX', ARGV[6])
  forget(id)
  publish('done:' .. id, #ARGV[4] <= 16384 and ARGV[4] or '')
  remember({ sub(ARGV[4], 2, 2) .. id })
  if sub(ARGV[4], 2, 2) == 'c' then counted('cancelled', 1, now_ms) end -- as workers count those that they hold
  if ARGV[11] then counted('q:' .. match(ARGV[11], '^[^:]*'), 1, now_ms) end
else
  call('SET', key, ARGV[4], 'XX')
  safe('ZREM', prefix .. 'dead', id)
  if ARGV[9] == '1' then safe('HDEL', prefix .. 'lost', id) end
end
safe('ZREM', prefix .. 'schedule', unpack(tickets))
wake(woken) -- before the audit: where that can't be written, the job is in its line all the same
audited(ARGV[10], now_ms)
return 0
