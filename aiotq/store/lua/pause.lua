-- pause.lua: claim nothing more from a queue.
-- KEYS    1 prefix
-- ARGV    1 queue
-- RETURNS 1
begin()
safe('SADD', prefix .. 'paused', ARGV[1])
return 1
