-- audit.lua: keep what a person did, or could not do, where the act's own script has not.
-- KEYS    1 prefix
-- ARGV    1 now, Unix ms or 0   2 what, JSON without its "{"
-- RETURNS 1
begin()
audited(ARGV[2], (clock(ARGV[1])))
return 1
