-- resume.lua: claim from a queue again; a worker of it is woken.
-- KEYS    1 prefix
-- ARGV    1 queue   2 for the audit, or ""
-- RETURNS 1 done, by this call or by the one that it repeats | 0 it was not paused
local changed = safe('SREM', prefix .. 'paused', ARGV[1])
token(ARGV[1])
if changed == 0 then return entry_of(ARGV[2]) and 1 or 0 end
audited(ARGV[2], (clock('0')))
return 1
