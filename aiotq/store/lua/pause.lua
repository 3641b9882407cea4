-- pause.lua: claim nothing more from a queue.
-- KEYS    1 prefix
-- ARGV    1 queue   2 for the audit, or ""
-- RETURNS 1 | 0 it was paused already
begin()
local changed = safe('SADD', prefix .. 'paused', ARGV[1])
if changed == 1 then audited(ARGV[2], (clock('0'))) end
return changed
