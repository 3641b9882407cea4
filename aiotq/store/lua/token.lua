-- token.lua: pass a token on that its taker can't use.
-- KEYS    1 prefix
-- ARGV    1 queue, or ":poller"
-- RETURNS 1
begin()
token(ARGV[1])
return 1
