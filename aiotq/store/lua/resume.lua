-- resume.lua: claim from a queue again; a worker of it is woken.
-- KEYS    1 prefix
-- ARGV    1 queue   2 for the audit, or ""
-- RETURNS 1 | 0 it was not paused
local changed = safe('SREM', prefix .. 'paused', ARGV[1])
if changed == 1 then audited(ARGV[2], (clock('0'))) end
token(ARGV[1])
return changed
