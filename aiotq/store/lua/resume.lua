-- resume.lua: claim from a queue again; a worker of it is woken.
-- KEYS    1 prefix
-- ARGV    1 queue
-- RETURNS 1
safe('SREM', prefix .. 'paused', ARGV[1])
token(ARGV[1])
return 1
