-- pause.lua: claim nothing more from a queue.
-- KEYS    1 prefix
-- ARGV    1 queue   2 for the audit, or ""
-- RETURNS 1 done, by this call or by the one that it repeats | 0 it was paused already
begin()
local changed = safe('SADD', prefix .. 'paused', ARGV[1])
if changed == 0 then return entry_of(ARGV[2]) and 1 or 0 end
audited(ARGV[2], (clock('0')))
return 1
