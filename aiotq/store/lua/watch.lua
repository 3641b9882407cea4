-- watch.lua: somebody waits for a job's end. Ends are published for as long as anybody has said so of late.
-- KEYS    1 prefix
-- ARGV    1 id   2 for how long, ms
-- RETURNS the record as it is now; false if there is none, or it is too large to come along
local key = prefix .. 'job:' .. ARGV[1]
begin()
call('SET', prefix .. 'waits', '1', 'PX', ARGV[2])
if safe('STRLEN', key) > 16384 then return false end
return safe('GET', key)
