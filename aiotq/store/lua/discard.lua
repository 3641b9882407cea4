-- discard.lua: compare and set of the record of a job that has ended by a short one, for late repeats; no dead letter any more.
-- KEYS    1 prefix
-- ARGV    1 id   2 state and generation that were read   3 new record   4 its generation   5 its TTL, ms
--         6 for the audit, or ""
-- RETURNS 0 done, or already as wanted | 2 the record is another now, or gone, or it has not ended
local id, dead = ARGV[1], prefix .. 'dead'
local key = prefix .. 'job:' .. id
local found = safe('GETRANGE', key, 1, 5)
if sub(found, 2) == ARGV[4] then return 0 end
if found ~= ARGV[2] or sub(found, 1, 1) == 'w' then return 2 end
begin()
call('ZREM', prefix .. 'nothing', '') -- changes nothing; without the right to it the letter would stay, and its record go
call('SET', key, ARGV[3], 'XX', 'PX', ARGV[5])
safe('ZREM', dead, id)
call('PEXPIRE', prefix .. 'note:' .. id, 0) -- what it logged, and how far it was
call('PEXPIRE', prefix .. 'progress:' .. id, 0)
audited(ARGV[6], (clock('0')))
return 0
